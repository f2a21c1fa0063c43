// SPDX-License-Identifier: Apache-2.0
// hyper.boot/draft-1: a guest that cannot boot is a result, its disk stays what it was, and nothing
// runs when the call has returned. The guest is a disk of zeros, so any starter of machines will
// do.
#include <chrono>
#include <optional>
#include <set>
#include <thread>

#include "core/block/block_table.hpp"
#include "core/check/opened.hpp"
#include "core/check/test_disks.hpp"
#include "core/disk/local_sources.hpp"
#include "core/plugin/boot_handle.hpp"

namespace hyperhost::check {
namespace {

constexpr std::size_t kDiskBytes = 1u << 20;

nlohmann::json request(Run& run, uint64_t timeout_ms) {
  return {{"vm", "check"},
          {"machine",
           {{"arch", "x86_64"},
            {"machine", "pc"},
            {"firmware", "bios"},
            {"memory_bytes", 64u << 20},
            {"cpu", {{"count", 1}}},
            {"disks", {{{"id", "disk-0"}, {"bus", "virtio"}, {"boot", true}}}}}},
          {"require", "loader"},
          {"timeout_ms", timeout_ms},
          {"network", "none"},
          {"scratch_dir", run.scratch()},
          {"picture", run.scratch() + "/screen"}};
}

nlohmann::json boots(Run& run, BootHandle& boot, Operation& op, uint64_t timeout_ms) {
  const std::string path = run.scratch() + "/zeros.raw";
  write_file(path, Bytes(kDiskBytes));
  BlockTable block("disk-0", read_only_device(open_file_source(path, "raw")), op);
  run.at("check()");
  return boot.check(op, request(run, timeout_ms), {block.table()});
}

void expect_untouched(Run& run) {
  const auto file = open_file_source(run.scratch() + "/zeros.raw", "raw");
  Bytes bytes(file->length());
  Operation op = operation("read");
  file->read_at(op, 0, bytes.data(), bytes.size());
  run.expect(bytes == Bytes(kDiskBytes), "check() changes the disk that it boots");
}

}  // namespace

void case_boot(Run& run) {
  const auto boot = opened<BootHandle>(run, HYPER_IFACE_BOOT, "start machines");
  Operation op = operation("plan");
  run.at("plan()");
  static_cast<void>(boot->plan(op, request(run, 20'000)));
  run.expect_error("plan() of a machine of an unknown kind", [&] {
    nlohmann::json odd = request(run, 1000);
    odd["machine"]["arch"] = "no-such-machine";
    static_cast<void>(boot->plan(op, odd));
  });
  const nlohmann::json answer = boots(run, *boot, op, 20'000);
  static const std::set<std::string> kBelow{"none", "firmware"};
  const std::string grade = answer.value("grade", "");
  run.expect(kBelow.contains(grade), "check() of a disk of zeros reports the grade '" + grade +
                                         "', and there is no loader on it");
  run.expect(answer.contains("reached") && answer["reached"].is_array(),
             "check() answers without \"reached\"");
  if (!answer.contains("failed")) run.note("a disk of zeros has no failure of its own name");
  expect_untouched(run);
}

void case_boot_cancel(Run& run) {
  const auto boot = opened<BootHandle>(run, HYPER_IFACE_BOOT, "start machines");
  const auto cancel = CancelSource::create();
  Operation op = operation("cancelled", cancel);
  std::chrono::steady_clock::time_point cancelled_at{};
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    cancelled_at = std::chrono::steady_clock::now();
    cancel->cancel();
  });
  std::string wrong;
  try {
    static_cast<void>(boots(run, *boot, op, 600'000));
    run.note("the machine ended before the cancel");
  } catch (const Error& error) {
    if (error.code() != Code::kCancelled)
      wrong = std::string("check() fails otherwise when it is cancelled: ") + error.what();
  }
  canceller.join();
  run.expect(wrong.empty(), wrong);
  run.expect(std::chrono::steady_clock::now() - cancelled_at < std::chrono::seconds(2),
             "check() continues for more than 2 s after the cancel");
  expect_untouched(run);
}

}  // namespace hyperhost::check
