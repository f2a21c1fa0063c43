// SPDX-License-Identifier: Apache-2.0
// What a later version may ask: a flag of a call, a member of a request that must be understood.
// A plugin that does not know it answers HYPER_UNSUPPORTED, before it does anything.
#include <hyper/draft/target.h>

#include <functional>

#include "core/check/provider_vms.hpp"
#include "core/check/test_disks.hpp"

namespace hyperhost::check {
namespace {

constexpr uint32_t kUnknown = 1u << 31;
constexpr const char* kMember = "/hyperhost-check/of-a-later-version";

hyper_st ignore(void*, const char*, uint64_t) noexcept {
  return HYPER_OK;
}

class Refusals {
 public:
  explicit Refusals(Run& run) : run_(run) {}

  /// f(op, flags): true if the call was made and refused as it should be.
  bool flag(const std::string& call, const std::function<hyper_st(hyper_op*, uint32_t)>& f) {
    run_.at(call + " with an unknown flag");
    Operation op = operation("refusal");
    const hyper_st status = f(&op, kUnknown);
    run_.expect(status == HYPER_UNSUPPORTED, call +
                                                 " with an unknown flag is not HYPER_UNSUPPORTED "
                                                 "(status " +
                                                 std::to_string(status) + ")");
    return status != HYPER_OK;
  }

  /// The same for a request with must_understand.
  bool member(const std::string& call, nlohmann::json request,
              const std::function<hyper_st(hyper_op*, const hyper_doc*)>& f) {
    request["hyperhost-check"] = {{"of-a-later-version", 1}};
    request["must_understand"] = {kMember};
    run_.at(call + " with must_understand");
    Operation op = operation("refusal");
    const hyper_doc doc{request};
    const hyper_st status = f(&op, &doc);
    run_.expect(status == HYPER_UNSUPPORTED,
                call + " of a request that must be understood is not HYPER_UNSUPPORTED (status " +
                    std::to_string(status) + ")");
    if (status != HYPER_UNSUPPORTED) return status != HYPER_OK;
    const auto said = op.diagnostics();
    run_.expect(!said.empty() && said.back().path == kMember,
                call + " refuses a member that must be understood and does not name it (path)");
    return true;
  }

 private:
  Run& run_;
};

void of_provider(Run& run) {
  {
    Operation op = operation("connect");
    static_cast<void>(run.connect_provider(op));  // or skipped
  }
  Refusals refusals(run);
  const hyper_provider& table = *run.plugin().provider();
  const Options options = run.options(HYPER_IFACE_PROVIDER);
  Operation op = operation("refusals");
  void* connection = nullptr;
  if (!refusals.flag("connect()", [&](hyper_op* with, uint32_t flags) {
        return table.connect(with, flags, &options, &connection);
      }))
    table.disconnect(connection, nullptr);
  op.check(table.connect(&op, 0, &options, &connection), "connect()");
  refusals.flag("list_vms()", [&](hyper_op* with, uint32_t flags) {
    return table.list_vms(connection, with, flags, nullptr, ignore, nullptr);
  });
  refusals.flag("describe_vm()", [&](hyper_op* with, uint32_t flags) {
    return table.describe_vm(connection, with, flags, "x", ignore, nullptr);
  });
  const hyper_doc request{vm_request("hyperhost-check-no-such-vm")};
  void* vm = nullptr;
  refusals.flag("open_vm()", [&](hyper_op* with, uint32_t flags) {
    return table.open_vm(connection, with, flags, &request, &vm);
  });
  Operation listing = operation("list");
  std::string ref;
  const auto take = [](void* arg, const char* json, uint64_t len) noexcept -> hyper_st {
    const auto vm_json = parse_document({json, static_cast<std::size_t>(len)});
    if (vm_json && vm_json->is_object() && static_cast<std::string*>(arg)->empty())
      *static_cast<std::string*>(arg) = vm_json->value("ref", vm_json->value("name", ""));
    return HYPER_OK;
  };
  listing.check(table.list_vms(connection, &listing, 0, nullptr, take, &ref), "list_vms()");
  if (!ref.empty() &&
      !refusals.member("open_vm()", vm_request(ref), [&](hyper_op* with, const hyper_doc* doc) {
        return table.open_vm(connection, with, 0, doc, &vm);
      }))
    table.close_vm(vm, &listing, HYPER_FAIL);
  table.disconnect(connection, &op);
}

void of_storage(Run& run) {
  {
    Operation op = operation("connect");
    static_cast<void>(run.connect_storage(op));
  }
  Refusals refusals(run);
  const hyper_storage& table = *run.plugin().storage();
  const Options options = run.options(HYPER_IFACE_STORAGE);
  Operation op = operation("refusals");
  void* connection = nullptr;
  if (!refusals.flag("connect()", [&](hyper_op* with, uint32_t flags) {
        return table.connect(with, flags, &options, &connection);
      }))
    table.disconnect(connection, nullptr);
  op.check(table.connect(&op, 0, &options, &connection), "connect()");
  const std::string key = "hyperhost-check-refusals/x";
  refusals.flag("info()", [&](hyper_op* with, uint32_t flags) {
    return table.info(connection, with, flags, ignore, nullptr);
  });
  refusals.flag("stat()", [&](hyper_op* with, uint32_t flags) {
    return table.stat(connection, with, flags, key.c_str(), ignore, nullptr);
  });
  refusals.flag("list()", [&](hyper_op* with, uint32_t flags) {
    return table.list(connection, with, flags, key.c_str(), ignore, nullptr);
  });
  refusals.flag("remove()", [&](hyper_op* with, uint32_t flags) {
    return table.remove(connection, with, flags, key.c_str());
  });
  nlohmann::json request{{"key", key}, {"overwrite", true}, {"durability", "none"}};
  const hyper_doc plain{request};
  const auto put = [&](hyper_op* with, uint32_t flags, const hyper_doc* doc) {
    hyper_sink sink{};
    sink.size = sizeof sink;
    const hyper_st status = table.put(connection, with, flags, doc, &sink);
    if (status == HYPER_OK) sink.close(sink.ctx, nullptr);
    return status;
  };
  refusals.flag("put()", [&](hyper_op* with, uint32_t flags) { return put(with, flags, &plain); });
  refusals.member("put()", request,
                  [&](hyper_op* with, const hyper_doc* doc) { return put(with, 0, doc); });
  table.disconnect(connection, &op);
}

void of_converter(Run& run) {
  Refusals refusals(run);
  const hyper_converter& table = *run.plugin().converter();
  const Options options = run.options(HYPER_IFACE_CONVERTER);
  Operation op = operation("refusals");
  void* self = nullptr;
  if (!refusals.flag("open()", [&](hyper_op* with, uint32_t flags) {
        return table.open(with, flags, &options, &self);
      }))
    table.close(self, nullptr);
  op.check(table.open(&op, 0, &options, &self), "open()");
  nlohmann::json request{
      {"source", {{"format", "raw"}, {"length", 4096}, {"access", {"seek", "stream", "file"}}}},
      {"target", {{"format", "raw"}, {"compression", "none"}, {"durability", "none"}}},
      {"virtual_size", 4096},
      {"digest", false}};
  const hyper_doc plain{request};
  refusals.flag("plan()", [&](hyper_op* with, uint32_t flags) {
    return table.plan(self, with, flags, &plain, ignore, nullptr);
  });
  refusals.member("plan()", request, [&](hyper_op* with, const hyper_doc* doc) {
    return table.plan(self, with, 0, doc, ignore, nullptr);
  });
  table.close(self, &op);
}

void of_image(Run& run) {
  Refusals refusals(run);
  const hyper_image& table = *run.plugin().image();
  const Options options = run.options(HYPER_IFACE_IMAGE);
  TestSource source(run, Bytes(4096, 0), {HYPER_SOURCE_SEEK, "", UINT64_MAX, 0});
  refusals.flag("probe()", [&](hyper_op* with, uint32_t flags) {
    return table.probe(with, flags, &options, &source.handle()->table(), ignore, nullptr);
  });
  const hyper_doc request{nlohmann::json::object()};
  const auto open = [&](hyper_op* with, uint32_t flags, const hyper_doc* doc) {
    hyper_source image{};
    image.size = sizeof image;
    const hyper_st status =
        table.open(with, flags, &options, &source.handle()->table(), doc, &image);
    if (status == HYPER_OK) image.close(image.ctx, nullptr);
    return status;
  };
  refusals.flag("open()",
                [&](hyper_op* with, uint32_t flags) { return open(with, flags, &request); });
  refusals.member("open()", {{"format", "raw"}},
                  [&](hyper_op* with, const hyper_doc* doc) { return open(with, 0, doc); });
}

void of_target(Run& run) {
  Refusals refusals(run);
  const hyper_target& table = *run.plugin().target();
  const Options options = run.options(HYPER_IFACE_TARGET);
  Operation op = operation("refusals");
  void* connection = nullptr;
  if (!refusals.flag("connect()", [&](hyper_op* with, uint32_t flags) {
        return table.connect(with, flags, &options, &connection);
      }))
    table.disconnect(connection, nullptr);
  if (table.connect(&op, 0, &options, &connection) != HYPER_OK)
    run.skip("there is no platform to connect to");
  refusals.flag("info()", [&](hyper_op* with, uint32_t flags) {
    return table.info(connection, with, flags, ignore, nullptr);
  });
  const nlohmann::json request = {{"name", "x"}, {"vm", "x"}, {"mark", std::string(32, '0')}};
  refusals.member("plan()", request, [&](hyper_op* with, const hyper_doc* doc) {
    return table.plan(connection, with, 0, doc, ignore, nullptr);
  });
  refusals.member("define()", request, [&](hyper_op* with, const hyper_doc* doc) {
    return table.define(connection, with, 0, doc, ignore, nullptr);
  });
  table.disconnect(connection, &op);
}

}  // namespace

void case_refusals(Run& run) {
  if (run.offers(HYPER_IFACE_CONVERTER)) of_converter(run);
  if (run.offers(HYPER_IFACE_IMAGE)) of_image(run);
  if (run.offers(HYPER_IFACE_STORAGE)) of_storage(run);
  if (run.offers(HYPER_IFACE_PROVIDER)) of_provider(run);
  if (run.offers(HYPER_IFACE_TARGET)) of_target(run);
}

}  // namespace hyperhost::check
