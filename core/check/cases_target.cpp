// SPDX-License-Identifier: Apache-2.0
// hyper.target/draft-1: plan changes nothing, a machine is defined once, what exists stays, and
// what the suite made is removed again. Targets whose info() says neither "remove" nor "put" answer
// files: for them nothing is left anywhere.
#include <algorithm>
#include <chrono>
#include <optional>

#include "core/check/run.hpp"
#include "core/check/test_disks.hpp"
#include "core/plugin/target_handle.hpp"

namespace hyperhost::check {
namespace {

using Json = nlohmann::json;

constexpr const char* kName = "hyperhost-check";
constexpr const char* kMark = "0123456789abcdef0123456789abcdef";
constexpr const char* kOtherMark = "ffffffffffffffffffffffffffffffff";

bool lists(const Json& info, const char* list, const char* name) {
  const Json names = info.value(list, Json::array());
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// The disks have no ref yet.
Json machine_request(const Json& info, const char* mark) {
  Json nic = {{"id", "nic-0"}, {"mac", "00:50:56:ab:10:01"}, {"network", "n"}, {"model", "virtio"}};
  if (const Json networks = info.value("networks", Json());
      networks.is_array() && !networks.empty())
    nic["target_network"] = networks[0];
  return {{"name", kName},
          {"vm", kName},
          {"mark", mark},
          {"task_id", "hyperhost-check"},
          {"machine",
           {{"arch", "x86_64"},
            {"machine", "pc"},
            {"firmware", "bios"},
            {"secure_boot", false},
            {"tpm", false},
            {"cpu", {{"count", 1}, {"sockets", 1}, {"cores", 1}, {"threads", 1}}},
            {"memory_bytes", 64u << 20},
            {"clock", "utc"},
            {"os", {{"family", "linux"}}},
            {"agent", true},
            {"hyperv", false},
            {"disks", {{{"id", "disk-0"}, {"bus", "virtio"}, {"order", 0}, {"boot", true}}}},
            {"nics", {nic}}}},
          {"disks",
           {{{"id", "disk-0"},
             {"format", "raw"},
             {"virtual_size", 1u << 20},
             {"file", "hyperhost-check-disk-0.raw"},
             {"path", "/nonexistent/hyperhost-check-disk-0.raw"}}}}};
}

Json disk_request(const Bytes& bytes) {
  return {{"name", kName},
          {"mark", kMark},
          {"task_id", "hyperhost-check"},
          {"disk", "disk-0"},
          {"file_name", "hyperhost-check-disk-0.raw"},
          {"format", "raw"},
          {"length", bytes.size()},
          {"virtual_size", bytes.size()}};
}

struct Connected {
  std::unique_ptr<TargetHandle> target;
  Json info;
};

/// Connects, or skips the case where what it connects to is not there.
Connected connected(Run& run, Operation& op) {
  run.at("connect()");
  try {
    Connected out{std::make_unique<TargetHandle>(run.plugin(), run.options(HYPER_IFACE_TARGET), op),
                  {}};
    run.at("info()");
    out.info = out.target->info(op);
    return out;
  } catch (const Error& error) {
    if (run.options_were_given()) run.stop(std::string("it cannot connect: ") + error.what());
    run.skip(std::string("there is no platform to connect to: ") + error.what());
  }
}

/// Sends the disk; its ref.
std::string put_whole(Run& run, TargetHandle& target, Operation& op, const Bytes& bytes) {
  run.at("put_disk()");
  const auto sink = target.put_disk(op, disk_request(bytes));
  const hyper_sink& table = sink->table();
  for (std::size_t at = 0; at < bytes.size(); at += 256 << 10)
    op.check(table.write_at(table.ctx, &op, 0, at, bytes.data() + at,
                            std::min<std::size_t>(256 << 10, bytes.size() - at)),
             "write_at()");
  run.at("commit()");
  return sink->commit(op, bytes.size()).value("location", "");
}

void remove_it(Run& run, TargetHandle& target, Operation& op, const std::string& ref,
               const char* kind) {
  run.at(std::string("remove() of a ") + kind);
  target.remove(op, ref, kind);
  target.remove(op, ref, kind);  // what is gone already is fine
}

}  // namespace

void case_target(Run& run) {
  Operation op = operation("target");
  const Connected there = connected(run, op);
  TargetHandle& target = *there.target;
  const Json& info = there.info;
  Json request = machine_request(info, kMark);
  run.at("plan()");
  for (int i = 0; i < 2; ++i)
    for (const Json& one : target.plan(op, request).value("findings", Json::array()))
      if (one.value("severity", "") == "error")
        run.stop("plan() of a small machine finds: " + one.value("summary", ""));
  const bool stays = lists(info, "can", "remove");
  const bool puts = lists(info, "disks", "put");
  if (!stays && (puts || lists(info, "disks", "import")))
    run.fail("it takes disks and cannot remove them (\"can\" in info)");
  if (puts && !lists(info, "disks", "place"))
    request["disks"][0]["ref"] = put_whole(run, target, op, disk_bytes(1 << 20));
  else if (!lists(info, "disks", "place"))
    run.skip("it only imports disks, and the suite serves none");
  run.at("define()");
  const Json made = target.define(op, request);
  const std::string ref = made.value("ref", "");
  run.expect(target.define(op, request).value("ref", "") == ref,
             "define() with the mark that made the machine answers another one");
  if (lists(info, "can", "state"))
    run.expect(target.state(op, ref).value("power", "") == "off",
               "the machine that define() made is not off");
  if (!stays) return;
  Json other = request;
  other["mark"] = kOtherMark;
  run.expect_error("define() of another machine of the same name",
                   [&] { static_cast<void>(target.define(op, other)); }, {Code::kExists});
  remove_it(run, target, op, ref, "machine");
  if (lists(info, "can", "state"))
    run.expect(target.state(op, ref).is_null(), "state() finds a machine that was removed");
  if (request["disks"][0].contains("ref"))
    remove_it(run, target, op, request["disks"][0]["ref"], "disk");
}

void case_target_disks(Run& run) {
  Operation op = operation("target");
  const Connected there = connected(run, op);
  TargetHandle& target = *there.target;
  const Json& info = there.info;
  if (!lists(info, "disks", "put")) return;
  const Bytes bytes = disk_bytes((1 << 20) + 4096);
  {
    run.at("put_disk()");
    const auto sink = target.put_disk(op, disk_request(bytes));  // closed without a commit
    const hyper_sink& table = sink->table();
    op.check(table.write_at(table.ctx, &op, 0, 0, bytes.data(), 4096), "write_at()");
  }
  const std::string ref = put_whole(run, target, op, bytes);
  run.expect(!ref.empty(), "commit() of a disk answers no location, which is its ref");
  if (lists(info, "can", "readback")) {
    run.at("get_disk()");
    const auto source = target.get_disk(op, ref);
    Bytes found(source->length());
    source->read_at(op, 0, found.data(), found.size());
    run.expect(found == bytes, "get_disk() gives other bytes than were put");
  }
  run.expect(put_whole(run, target, op, bytes) == ref,
             "put_disk() again with the same mark makes another disk");
  remove_it(run, target, op, ref, "disk");
  if (lists(info, "can", "readback"))
    run.expect_error("get_disk() of a disk that was removed",
                     [&] { static_cast<void>(target.get_disk(op, ref)); }, {Code::kNotFound});
}

void case_target_cancel(Run& run) {
  Operation op = operation("target");
  const Connected there = connected(run, op);
  TargetHandle& target = *there.target;
  const Json& info = there.info;
  const auto cancel = CancelSource::create();
  cancel->cancel();
  Operation cancelled = operation("cancelled", cancel);
  const auto began = std::chrono::steady_clock::now();
  const bool stays = lists(info, "can", "remove");
  // In a process of its own, a call may be quicker than the cancel. What it made goes.
  const auto try_it = [&](const char* what, const char* kind, auto&& f) {
    try {
      const std::string ref = f();
      if (stays) remove_it(run, target, op, ref, kind);
    } catch (const Error& error) {
      run.expect(error.code() == Code::kCancelled,
                 std::string(what) + " fails otherwise when it is cancelled: " + error.what());
    }
  };
  if (lists(info, "disks", "put"))
    try_it("put_disk()", "disk",
           [&] { return put_whole(run, target, cancelled, disk_bytes(1 << 20)); });
  run.at("define()");
  try_it("define()", "machine",
         [&] { return target.define(cancelled, machine_request(info, kMark)).value("ref", ""); });
  run.expect(std::chrono::steady_clock::now() - began < std::chrono::seconds(4),
             "it continues for more than 2 s after a cancel");
}

}  // namespace hyperhost::check
