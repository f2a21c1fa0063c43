// SPDX-License-Identifier: Apache-2.0
// hyper.provider/1: what it lists can be described, what it describes can be opened and read.
#include <regex>
#include <set>
#include <thread>

#include "core/check/resources.hpp"
#include "core/check/run.hpp"
#include "core/check/source_suite.hpp"

namespace hyperhost::check {
namespace {

constexpr std::size_t kVms = 3, kDisks = 3;  // of each, that are looked at

struct Listed {
  std::string ref, name;
};

std::vector<Listed> list(Run& run, ProviderHandle& provider, const std::string& pattern) {
  std::vector<Listed> out;
  Operation op = operation("list");
  run.at("list_vms()");
  provider.list_vms(op, pattern, [&](const nlohmann::json& vm) {
    const auto text = [&](const char* key) {
      const auto found = vm.find(key);
      return found != vm.end() && found->is_string() ? found->get<std::string>() : std::string();
    };
    run.expect(!text("name").empty(), "list_vms() emits a VM without a name: " + vm.dump());
    out.push_back({text("ref").empty() ? text("name") : text("ref"), text("name")});
  });
  return out;
}

/// The ids of its disks that can be read; findings where the description breaks its contract.
std::vector<std::string> disks_of(Run& run, const nlohmann::json& vm, const std::string& name) {
  std::vector<std::string> out;
  std::set<std::string> seen;
  const std::string what = "the description of '" + name + "'";
  run.expect(vm.contains("name") && vm["name"].is_string(), what + " has no name");
  const auto disks = vm.value("disks", nlohmann::json::array());
  run.require(disks.is_array(), what + ": disks is no array");
  static const std::regex id_form("^[A-Za-z0-9_-]{1,128}$");
  static const std::set<std::string> words{"seek", "stream", "file", "extents", "sibling"};
  for (const auto& disk : disks) {
    const std::string id = disk.is_object() && disk.contains("id") && disk["id"].is_string()
                               ? disk["id"].get<std::string>()
                               : "";
    run.expect(std::regex_match(id, id_form),
               what + ": the disk id '" + id + "' is not of the form A-Z, a-z, 0-9, _, -");
    run.expect(seen.insert(id).second, what + ": the disk id '" + id + "' is there twice");
    const auto access = disk.value("access", nlohmann::json::array());
    for (const auto& word : access)
      run.expect(word.is_string() && words.count(word.get<std::string>()) != 0,
                 what + ": the access " + word.dump() + " is not known");
    if (!id.empty() && !disk.value("blank", false)) out.push_back(id);
  }
  return out;
}

nlohmann::json request_of(const std::string& vm) {
  return {{"vm", vm}, {"task_id", "hyperhost-check"}};
}

void close_vm(Run& run, ProviderVmHandle& vm, hyper_st outcome) {
  Operation op = operation("close");
  run.at("close_vm()");
  vm.close(op, outcome);
}

/// f(vm, its name, disk id) for some disks of some VMs, each VM opened and closed around it.
void each_disk(
    Run& run, ProviderHandle& provider,
    const std::function<void(ProviderVmHandle&, const std::string&, const std::string&)>& f) {
  auto vms = list(run, provider, "");
  if (vms.empty()) run.skip("it lists no VM; give --options that lead to one");
  vms.resize(std::min(vms.size(), kVms));
  for (const Listed& listed : vms) {
    Operation op = operation(listed.name);
    run.at("describe_vm(\"" + listed.ref + "\")");
    const auto description = provider.describe_vm(op, listed.ref);
    auto disks = disks_of(run, description, listed.name);
    disks.resize(std::min(disks.size(), kDisks));
    run.at("preflight(\"" + listed.ref + "\")");
    provider.preflight(op, request_of(listed.ref));
    run.at("open_vm(\"" + listed.ref + "\")");
    const auto vm = provider.open_vm(op, request_of(listed.ref));
    for (const std::string& disk : disks) f(*vm, listed.name, disk);
    run.at("open_disk() of a disk that is not there");
    run.expect_error("open_disk(\"no-such-disk\")", [&] {
      Operation other = operation(listed.name);
      static_cast<void>(vm->open_disk(other, "no-such-disk", HYPER_OPEN_SEEK));
    });
    close_vm(run, *vm, HYPER_OK);
  }
}

OpenSource opener(ProviderVmHandle& vm, const std::string& disk) {
  return [&vm, disk](Operation& op, uint32_t flags) { return vm.open_disk(op, disk, flags); };
}

}  // namespace

void case_provider(Run& run) {
  Operation op = operation("connect");
  const auto provider = run.connect_provider(op);
  run.expect(list(run, *provider, "hyperhost-check-no-such-vm-*").empty(),
             "list_vms() does not keep to its pattern");
  run.at("describe_vm() of a VM that is not there");
  run.expect_error("describe_vm(\"hyperhost-check-no-such-vm\")",
                   [&] {
                     Operation other = operation("describe");
                     static_cast<void>(provider->describe_vm(other, "hyperhost-check-no-such-vm"));
                   },
                   {Code::kNotFound});
  run.expect_error("open_vm(\"hyperhost-check-no-such-vm\")", [&] {
    Operation other = operation("open");
    run.at("open_vm() of a VM that is not there");
    static_cast<void>(provider->open_vm(other, request_of("hyperhost-check-no-such-vm")));
  });
  each_disk(run, *provider,
            [&](ProviderVmHandle& vm, const std::string& name, const std::string& disk) {
              check_source(run, name + "/" + disk, opener(vm, disk));
            });
  // Two at once, as a batch does it.
  if (provider->plugin().serial()) return;
  run.at("list_vms() on several threads");
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      try {
        static_cast<void>(list(run, *provider, ""));
      } catch (const std::exception& error) {
        run.fail(std::string("list_vms() on several threads: ") + error.what());
      }
    });
  for (std::thread& thread : threads) thread.join();
}

void case_provider_cancel(Run& run) {
  Operation op = operation("connect");
  const auto provider = run.connect_provider(op);
  each_disk(run, *provider,
            [&](ProviderVmHandle& vm, const std::string& name, const std::string& disk) {
              check_source_cancel(run, name + "/" + disk, opener(vm, disk));
            });
  // Cancelled before they begin: an answer or HYPER_CANCELLED, soon.
  const auto cancel = CancelSource::create();
  cancel->cancel();
  const auto soon = [&](const std::string& what, const std::function<void(Operation&)>& call) {
    run.at(what + " after the cancel");
    const auto begin = std::chrono::steady_clock::now();
    Operation cancelled = operation("cancelled", cancel);
    try {
      call(cancelled);
    } catch (const Error& error) {
      run.expect(error.code() == Code::kCancelled,
                 what + " after the cancel fails otherwise: " + error.what());
    }
    run.expect(std::chrono::steady_clock::now() - begin < std::chrono::seconds(2),
               what + " continues for more than 2 s after the cancel");
  };
  soon("list_vms()", [&](Operation& cancelled) {
    provider->list_vms(cancelled, "", [](const nlohmann::json&) {});
  });
}

void case_provider_again(Run& run) {
  {
    Operation op = operation("connect");
    static_cast<void>(run.connect_provider(op));
  }
  expect_no_growth(run, "connecting, reading a disk and disconnecting", 4, [&] {
    Operation op = operation("connect");
    const auto provider = run.connect_provider(op);
    each_disk(run, *provider,
              [&](ProviderVmHandle& vm, const std::string&, const std::string& disk) {
                Operation reading = operation(disk);
                run.at("open_disk()");
                const auto source = vm.open_disk(reading, disk, HYPER_OPEN_SEEK);
                const hyper_source& table = source->table();
                std::vector<unsigned char> buffer(table.block_min);
                if (source->can(HYPER_SOURCE_SEEK) && table.length >= buffer.size())
                  source->read_at(reading, 0, buffer.data(), buffer.size());
              });
  });
}

}  // namespace hyperhost::check
