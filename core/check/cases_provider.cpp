// SPDX-License-Identifier: Apache-2.0
// hyper.provider/1: what it lists can be described, what it describes can be opened and read.
#include <thread>

#include "core/check/provider_vms.hpp"
#include "core/check/resources.hpp"
#include "core/check/traces.hpp"

namespace hyperhost::check {

void case_provider(Run& run) {
  const auto journal = file_journal(run.scratch() + "/journal");
  keep_journal(journal);
  Operation op = operation("connect");
  const auto provider = run.connect_provider(op);
  const std::string made = run.made_directory(HYPER_IFACE_PROVIDER);
  const Files before = files_below(made);
  run.expect(list_vms(run, *provider, "hyperhost-check-no-such-vm-*").empty(),
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
    static_cast<void>(provider->open_vm(other, vm_request("hyperhost-check-no-such-vm")));
  });
  each_disk(run, *provider, [&](ProviderVmHandle& vm, const OpenedDisk& disk) {
    check_source(run, disk.name(), opener(vm, disk.id), nullptr, true);
  });
  for (const auto& entry : open_entries(*journal))
    run.fail("close_vm() leaves a journal entry open: " + entry.dump());
  const std::string changed = changes(before, files_below(made));
  run.expect(changed.empty(), "open_vm() to close_vm() change the source: " + changed);
  // Two at once, as a batch does it.
  if (provider->plugin().serial()) return;
  run.at("list_vms() on several threads");
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      try {
        static_cast<void>(list_vms(run, *provider, ""));
      } catch (const std::exception& error) {
        run.fail(std::string("list_vms() on several threads: ") + error.what());
      }
    });
  for (std::thread& thread : threads) thread.join();
}

void case_provider_cancel(Run& run) {
  Operation op = operation("connect");
  const auto provider = run.connect_provider(op);
  each_disk(run, *provider, [&](ProviderVmHandle& vm, const OpenedDisk& disk) {
    check_source_cancel(run, disk.name(), opener(vm, disk.id));
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
    each_disk(run, *provider, [&](ProviderVmHandle& vm, const OpenedDisk& disk) {
      Operation reading = operation(disk.id);
      run.at("open_disk()");
      const auto source = vm.open_disk(reading, disk.id, HYPER_OPEN_SEEK);
      const hyper_source& table = source->table();
      std::vector<unsigned char> buffer(table.block_min);
      if (source->can(HYPER_SOURCE_SEEK) && table.length >= buffer.size())
        source->read_at(reading, 0, buffer.data(), buffer.size());
    });
  });
  Operation op = operation("connect");
  const auto provider = run.connect_provider(op);
  expect_no_growth(run, "list_vms()", 8, [&] { list_vms(run, *provider, ""); });
  const std::string ref = some_vms(run, *provider).front().ref;
  expect_no_growth(run, "describe_vm()", 8, [&] { describe_vm(run, *provider, ref); });
  expect_no_growth(run, "describe_vm() of a VM that is not there", 8, [&] {
    Operation other = operation("describe");
    try {
      static_cast<void>(provider->describe_vm(other, "hyperhost-check-no-such-vm"));
    } catch (const Error&) {  // as it should be
      return;
    }
  });
}

}  // namespace hyperhost::check
