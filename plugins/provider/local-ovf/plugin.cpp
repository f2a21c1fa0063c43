// SPDX-License-Identifier: Apache-2.0
// The provider "local-ovf": VMs out of .ova and .ovf packages and bare disk images. Its table is
// at the end; what the words mean is in README.md.
#include <fnmatch.h>

#include <hyper/plugin.hpp>
#include <nlohmann/json.hpp>

#include "catalog.hpp"
#include "disk_source.hpp"

namespace hyper::ovf {
namespace {

/// A VM open for reading. Nothing was done to the package, so there is nothing to undo.
class OpenVm final : public ProviderVm {
 public:
  OpenVm(std::shared_ptr<const Contents> contents, const Vm& vm, bool verify)
      : contents_(std::move(contents)), vm_(vm), verify_(verify) {}

  std::unique_ptr<Source> open_disk(Op, const std::string& disk_id, uint32_t) override {
    for (const Disk& disk : vm_.disks) {
      if (disk.id != disk_id) continue;
      if (disk.blank)
        throw Error(HYPER_UNSUPPORTED, "the disk '" + disk_id + "' of '" + vm_.ovf.name +
                                           "' is blank: there is nothing to read");
      return open_source(contents_, disk, verify_);
    }
    throw Error(HYPER_NOTFOUND, "the VM '" + vm_.ovf.name + "' has no disk '" + disk_id + "'");
  }

 private:
  const std::shared_ptr<const Contents> contents_;
  const Vm& vm_;  // of contents_
  const bool verify_;
};

class Connection final : public ProviderConnection {
 public:
  static std::unique_ptr<Connection> connect(const Doc& config, Op) {
    const std::string path = config.string("/path");
    if (path.empty()) throw Error(HYPER_CONFIG, "the option 'path' is missing").at("/path");
    return std::make_unique<Connection>(path, config.boolean("/recursive", false),
                                        config.boolean("/verify_checksums", true));
  }

  Connection(const std::string& path, bool recursive, bool verify)
      : catalog_(path, recursive, verify) {}

  void list_vms(Op op, const char* pattern, const Emit& emit) override {
    catalog_.list(op, [&](const Listed& vm) {
      const bool wanted =
          pattern == nullptr || *pattern == '\0' || fnmatch(pattern, vm.name.c_str(), 0) == 0 ||
          fnmatch(pattern, vm.path.c_str(), 0) == 0 || fnmatch(pattern, vm.ref.c_str(), 0) == 0;
      if (!wanted) return;
      const nlohmann::ordered_json out = {{"ref", vm.ref},     {"name", vm.name},
                                          {"path", vm.path},   {"power_state", "off"},
                                          {"disks", vm.disks}, {"bytes", vm.bytes}};
      emit(out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
    });
  }

  std::string describe_vm(Op op, const std::string& vm) override {
    const Listed listed = catalog_.find(op, vm);
    const auto [contents, found] = catalog_.load(listed);
    return describe(*contents, *found, listed.ref);
  }

  void preflight(Op op, const Doc& request) override {
    const Listed listed = catalog_.find(op, request.need_string("/vm"));
    const auto [contents, found] = catalog_.load(listed);
    const std::string place = "vm/" + found->ovf.name;
    for (const std::string& text : found->warnings) op.warn(Error(HYPER_FAIL, text).at(place));
    for (const std::string& text : found->notes) op.note(Error(HYPER_OK, text).at(place));
  }

  std::unique_ptr<ProviderVm> open_vm(Op op, const Doc& request) override {
    auto [contents, found] = catalog_.load(catalog_.find(op, request.need_string("/vm")));
    check_content(*found, request);
    return std::make_unique<OpenVm>(std::move(contents), *found, catalog_.verify_checksums());
  }

 private:
  /// What was planned, and what an earlier run wrote, is of the content that the request names.
  static void check_content(const Vm& vm, const Doc& request) {
    for (const Disk& disk : vm.disks) {
      const std::string described = request.string("/content_ids/" + disk.id);
      if (described.empty() || disk.blank || described == content_id(disk)) continue;
      throw Error(HYPER_BUSY, "'" + disk.file + "' was changed since the VM '" + vm.ovf.name +
                                  "' was looked at")
          .hint("The next attempt begins with the disk as it is then.")
          .retryable();
    }
  }

  Catalog catalog_;
};

struct LocalOvf {
  using Interfaces = hyper::Interfaces<Provider<Connection>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace
}  // namespace hyper::ovf

HYPER_PLUGIN(hyper::ovf::LocalOvf)
