// SPDX-License-Identifier: Apache-2.0
#include "core/run/file_provider.hpp"

#include <hyper/interfaces.hpp>
#include <nlohmann/json.hpp>

#include "core/disk/local_sources.hpp"

namespace hyperhost {
namespace {

constexpr const char* kId = "file";

class FileProvider final : public hyper::ProviderConnection {
 public:
  FileProvider(std::string path, std::string format)
      : path_(std::move(path)), format_(std::move(format)) {}
  static std::unique_ptr<FileProvider> connect(const hyper::Doc& options, hyper::Op) {
    return std::make_unique<FileProvider>(options.string("/path"), options.string("/format"));
  }

  void list_vms(hyper::Op, const char*, const hyper::Emit& emit) override {
    emit(nlohmann::json{{"ref", kFileVm}, {"name", kFileVm}}.dump());
  }
  std::string describe_vm(hyper::Op, const std::string&) override {
    const nlohmann::json disk = {{"id", "disk-0"},
                                 {"file", path_},
                                 {"format", format_},
                                 {"bytes", file_source(path_, format_)->traits().length},
                                 {"access", {"seek", "file"}}};
    return nlohmann::json{{"ref", kFileVm}, {"name", kFileVm}, {"disks", {disk}}}.dump();
  }
  std::unique_ptr<hyper::ProviderVm> open_vm(hyper::Op, const hyper::Doc&) override {
    return std::make_unique<Vm>(path_, format_);
  }

 private:
  class Vm final : public hyper::ProviderVm {
   public:
    Vm(std::string path, std::string format) : path_(std::move(path)), format_(std::move(format)) {}
    std::unique_ptr<hyper::Source> open_disk(hyper::Op, const std::string&, uint32_t) override {
      return file_source(path_, format_);
    }

   private:
    const std::string path_, format_;
  };

  const std::string path_, format_;
};

}  // namespace

PluginChoice file_provider(PluginRegistry& registry, const std::string& path,
                           const std::string& format) {
  if (registry.find(kId) == nullptr) {
    host_table();  // the C++ face needs its host
    PluginTables tables;
    tables.provider = *static_cast<const hyper_provider*>(hyper::Provider<FileProvider>::table());
    tables.serial = false;
    registry.add(Plugin::of_tables(kId, "1.0.0", tables, {}),
                 {{"id", kId}, {"version", "1.0.0"}, {"interfaces", {HYPER_IFACE_PROVIDER}}});
  }
  return {kId, Options(nlohmann::json{{"path", path}, {"format", format}})};
}

}  // namespace hyperhost
