// SPDX-License-Identifier: Apache-2.0
// The cases about the library itself: its file, its descriptor, its greeting and how it starts
// and stops. No connection, no data.
#include <dlfcn.h>
#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <regex>
#include <thread>

#include "core/check/guarded_buffer.hpp"
#include "core/check/option_values.hpp"
#include "core/check/resources.hpp"
#include "core/check/run.hpp"
#include "core/config/schema.hpp"
#include "core/plugin/elf_section.hpp"
#include "core/plugin/registry.hpp"

namespace hyperhost::check {
namespace {

using Entry = const hyper_plugin* (*)(const hyper_hello*);

Entry entry_of(Run& run) {
  run.at("dlopen()");
  void* library = ::dlopen(run.settings().file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) run.stop(std::string("it does not load: ") + ::dlerror());
  void* symbol = ::dlsym(library, HYPER_ENTRY_SYMBOL);
  run.require(symbol != nullptr, "it exports no symbol " HYPER_ENTRY_SYMBOL);
  run.at(HYPER_ENTRY_SYMBOL);
  return reinterpret_cast<Entry>(symbol);
}

const hyper_plugin& descriptor_of(Run& run) {
  static char refusal[512];
  const hyper_hello hello{sizeof hello, HYPER_ABI_MINOR, 0, refusal, sizeof refusal};
  const hyper_plugin* descriptor = entry_of(run)(&hello);
  refusal[sizeof refusal - 1] = '\0';
  if (descriptor == nullptr) {
    run.require(refusal[0] != '\0', "it refuses this host and says no reason");
    run.stop(std::string("it refuses this host: ") + refusal);
  }
  return *descriptor;
}

/// What this process has read and written by system calls.
std::string io_so_far() {
  std::ifstream in("/proc/self/io");
  std::string line, out;
  while (std::getline(in, line))
    if (line.rfind("syscr", 0) == 0 || line.rfind("syscw", 0) == 0) out += line + " ";
  return out;
}

/// A host table in memory that ends where its struct ends, as a host of minor 0 has it.
hyper_host* bounded_host(GuardedBuffer& memory, const hyper_host& from) {
  std::memcpy(memory.data(), &from, std::min(memory.size(), sizeof from));
  auto* table = reinterpret_cast<hyper_host*>(memory.data());
  table->size = static_cast<uint32_t>(memory.size());
  return table;
}

void start_and_stop(Run& run, const hyper_plugin& descriptor, const hyper_host* host,
                    const std::string& who) {
  Operation op = operation("start");
  run.at("start() by " + who);
  const hyper_st status = descriptor.start(host, &op);
  if (status != HYPER_OK) {
    run.expect_error("start() by " + who, [&] { op.check(status, "start()"); });
    run.note("it does not start with " + who);
    return;
  }
  run.at("stop()");
  descriptor.stop();
}

/// Bytes of hyper_host in ABI 1.0.
constexpr std::size_t kHost10 = offsetof(hyper_host, buf_free) + sizeof(void*);

}  // namespace

void case_static(Run& run) {
  const std::string& file = run.settings().file;
  const auto symbols = read_elf_section(file, ".dynsym");
  const auto names = read_elf_section(file, ".dynstr");
  run.require(symbols && names, "it has no dynamic symbols");
  static const std::regex sanitizer("^_*(asan|ubsan|tsan|odr_asan|start_asan|stop_asan|lsan).*");
  bool entry = false;
  std::vector<std::string> others;
  for (std::size_t at = 0; at + sizeof(Elf64_Sym) <= symbols->size(); at += sizeof(Elf64_Sym)) {
    Elf64_Sym symbol{};
    std::memcpy(&symbol, symbols->data() + at, sizeof symbol);
    const bool exported = symbol.st_shndx != SHN_UNDEF && symbol.st_shndx != SHN_ABS &&
                          ELF64_ST_BIND(symbol.st_info) != STB_LOCAL;
    if (!exported || symbol.st_name >= names->size()) continue;
    const std::string name = names->c_str() + symbol.st_name;
    if (name == HYPER_ENTRY_SYMBOL)
      entry = true;
    else if (name.rfind("hyper_plugin_entry_v", 0) != 0 && !std::regex_match(name, sanitizer))
      others.push_back(name);
  }
  std::sort(others.begin(), others.end());
  if (!others.empty())
    run.fail("it exports '" + others.back() + "'" +
             (others.size() > 1 ? " and " + std::to_string(others.size() - 1) + " more" : "") +
             ": only " HYPER_ENTRY_SYMBOL " may be visible (link with the SDK's plugin.map)");
  run.expect(entry, "it exports no symbol " HYPER_ENTRY_SYMBOL);
}

void case_manifest(Run& run) {
  run.require(read_elf_section(run.settings().file, HYPER_MANIFEST_SECTION).has_value(),
              "it has no manifest (section " HYPER_MANIFEST_SECTION ")");
  const nlohmann::json& manifest = run.manifest();
  const std::string problem = PluginRegistry::manifest_problem(manifest);
  run.require(problem.empty(), problem);
  static const std::regex version(
      R"(^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$)");
  run.expect(std::regex_match(manifest["version"].get<std::string>(), version),
             "its version is no semantic version (1.2.3)");
  run.expect(!manifest["interfaces"].empty(), "its manifest names no interfaces");
  for (const char* key : {"summary", "license"})
    if (!manifest.contains(key)) run.note(std::string("its manifest has no ") + key);
  const nlohmann::json schema = manifest.value("options", nlohmann::json{{"type", "object"}});
  for (const std::string& text : check_schema(schema))
    run.fail("the schema of its options: " + text);
  if (schema.value("additionalProperties", nlohmann::json(true)) != false)
    run.note("its options allow unknown keys: write \"additionalProperties\": false");
}

void case_load(Run& run) {
  const Entry entry = entry_of(run);
  char refusal[512] = "";
  const hyper_hello hello{sizeof hello, HYPER_ABI_MINOR, 0, refusal, sizeof refusal};
  static_cast<void>(entry(&hello));  // the loader's own work is done once
  static_cast<void>(io_so_far());
  const std::string idle_before = io_so_far(), idle = io_so_far();
  const Resources before = Resources::now();
  const std::string io_before = io_so_far();
  const hyper_plugin* first = entry(&hello);
  const std::string io_after = io_so_far();
  const Resources after = Resources::now();
  run.require(first != nullptr, "it refuses this host: " + std::string(refusal));
  run.expect(after.descriptors == before.descriptors, "its entry opens descriptors");
  run.expect(after.threads == before.threads, "its entry starts threads");
  // Reading /proc/self/io is a constant number of calls by itself.
  const auto calls = [](const std::string& text) {
    std::smatch match;
    static const std::regex numbers(R"(syscr: (\d+) syscw: (\d+))");
    return std::regex_search(text, match, numbers) ? std::stoull(match[1]) + std::stoull(match[2])
                                                   : 0ull;
  };
  run.expect(calls(io_after) - calls(io_before) <= calls(idle) - calls(idle_before),
             "its entry reads or writes");
  run.expect(entry(&hello) == first, "its entry gives another descriptor the second time");
  const hyper_plugin* other = nullptr;
  std::thread([&] { other = entry(&hello); }).join();
  run.expect(other == first, "its entry gives another descriptor on another thread");

  const hyper_plugin& table = *first;
  run.require(table.size >= offsetof(hyper_plugin, get) + sizeof(void*),
              "its descriptor says " + std::to_string(table.size) + " bytes, ABI 1.0 has " +
                  std::to_string(offsetof(hyper_plugin, get) + sizeof(void*)));
  run.require(
      table.id && table.version && table.manifest_json && table.start && table.stop && table.get,
      "its descriptor has an empty slot that may not be empty");
  const nlohmann::json& manifest = run.manifest();
  run.expect(manifest.value("id", "") == table.id, "its manifest says id '" +
                                                       manifest.value("id", "") +
                                                       "' and its descriptor '" + table.id + "'");
  run.expect(manifest.value("version", "") == table.version,
             "its manifest says version '" + manifest.value("version", "") +
                 "' and its descriptor '" + table.version + "'");
  auto section = read_elf_section(run.settings().file, HYPER_MANIFEST_SECTION).value_or("");
  section.resize(::strnlen(section.data(), section.size()));
  run.expect(section == table.manifest_json,
             "its descriptor's manifest is not what the section " HYPER_MANIFEST_SECTION " holds");
  run.expect(table.threads >= HYPER_THREADS_SERIAL && table.threads <= HYPER_THREADS_PARALLEL,
             "its descriptor's threads are none of HYPER_THREADS_…");
  run.expect(table.need_minor <= table.abi_minor,
             "it needs a host newer than the headers it was built from");
}

void case_greeting(Run& run) {
  const Entry entry = entry_of(run);
  // A greeting of ABI 1.0 ends at its end: nothing behind it may be read.
  constexpr std::size_t kHello10 = offsetof(hyper_hello, refusal_cap) + sizeof(uint64_t);
  GuardedBuffer small(kHello10, "its entry reads beyond a greeting of ABI 1.0");
  GuardedBuffer reason(16, "its entry writes its refusal beyond refusal_cap");
  auto* hello = reinterpret_cast<hyper_hello*>(small.data());
  // From far away: it refuses, with a reason, or knows that it works there too.
  for (const uint16_t oldest : {uint16_t{0}, uint16_t{60000}}) {
    *hello = hyper_hello{kHello10, static_cast<uint16_t>(oldest + 5), oldest,
                         reinterpret_cast<char*>(reason.data()), reason.size()};
    std::memset(reason.data(), 0, reason.size());
    if (entry(hello) != nullptr) continue;
    run.expect(reason.data()[0] != 0, "it refuses a host and says no reason");
    run.expect(std::memchr(reason.data(), 0, reason.size()) != nullptr,
               "its refusal does not end in NUL");
    run.note("it refuses hosts of ABI 1." + std::to_string(oldest) + " to 1." +
             std::to_string(oldest + 5));
  }
  run.expect(reason.front_is_whole() && small.front_is_whole(),
             "its entry writes in front of what it was given");
  // And one from the future, with fields it does not know.
  GuardedBuffer large(kHello10 + 256, "its entry reads beyond the greeting");
  std::memset(large.data(), 0xFF, large.size());
  hello = reinterpret_cast<hyper_hello*>(large.data());
  *hello = hyper_hello{static_cast<uint32_t>(large.size()), HYPER_ABI_MINOR, 0,
                       reinterpret_cast<char*>(reason.data()), reason.size()};
  run.expect(entry(hello) != nullptr, "it refuses a host whose greeting is longer than its own");
}

void case_old_host(Run& run) {
  const hyper_plugin& descriptor = descriptor_of(run);
  if (descriptor.need_minor > 0) {
    run.note("it needs ABI 1." + std::to_string(descriptor.need_minor) + ": not started on 1.0");
    return;
  }
  GuardedBuffer memory(kHost10, "it reads beyond the table of a host of ABI 1.0");
  hyper_host* host = bounded_host(memory, *watching_host(run));
  host->abi_minor = 0;
  host->get_ext = [](const char*) noexcept -> const void* { return nullptr; };
  memory.make_read_only();
  start_and_stop(run, descriptor, host, "a host of ABI 1.0 without extensions");
}

void case_future_host(Run& run) {
  const hyper_plugin& descriptor = descriptor_of(run);
  GuardedBuffer memory(sizeof(hyper_host) + 512, "it reads beyond the host's table");
  std::memset(memory.data(), 0xFF, memory.size());
  hyper_host* host = bounded_host(memory, *watching_host(run));
  host->abi_minor = 1000;
  memory.make_read_only();
  start_and_stop(run, descriptor, host, "a host of ABI 1.1000");
}

void case_interfaces(Run& run) {
  const hyper_plugin& descriptor = descriptor_of(run);
  run.at("get()");
  for (const char* iface : {"hyper.nothing/9", "", "hyper.provider/2", "provider"})
    run.expect(
        descriptor.get(iface) == nullptr,
        "get(\"" + std::string(iface) + "\") gives a table for an interface that is unknown");
  for (const char* iface :
       {HYPER_IFACE_PROVIDER, HYPER_IFACE_IMAGE, HYPER_IFACE_CONVERTER, HYPER_IFACE_STORAGE,
        HYPER_IFACE_GUEST, HYPER_IFACE_BOOT, HYPER_IFACE_TARGET}) {
    const void* table = descriptor.get(iface);
    if (run.offers(iface) && table == nullptr)
      run.fail("its manifest names " + std::string(iface) + " and get() has no table for it");
    if (!run.offers(iface) && table != nullptr)
      run.fail("get() has a table for " + std::string(iface) +
               " and its manifest does not name it");
    run.expect(descriptor.get(iface) == table, "get() gives another table the second time");
  }
  static_cast<void>(run.plugin());  // sizes and slots, as the host checks them
}

void case_start_stop(Run& run) {
  const hyper_plugin& descriptor = descriptor_of(run);
  const hyper_host* host = watching_host(run);
  bool failed = false;
  expect_no_growth(run, "start() and stop()", 34, [&] {
    if (failed) return;
    Operation op = operation("start");
    run.at("start()");
    const hyper_st status = descriptor.start(host, &op);
    if (status != HYPER_OK) {
      failed = true;
      run.fail("start() fails");
      run.expect_error("start()", [&] { op.check(status, "start()"); });
      return;
    }
    run.at("stop()");
    descriptor.stop();
  });
}

void case_options(Run& run) {
  Plugin& plugin = run.plugin();
  for (const auto& iface : run.manifest()["interfaces"]) {
    const std::string id = iface.get<std::string>();
    const Options valid = run.options(id.c_str());
    const auto checked = [&](const Options& options, bool must_pass) {
      Operation op = operation("validate");
      run.at("validate(" + id + ", " + options.value().dump().substr(0, 80) + ")");
      const hyper_st status = plugin.validate(id.c_str(), options, op);
      bool error = false;
      for (const Diagnostic& diagnostic : op.diagnostics()) {
        if (diagnostic.severity != Severity::kError) continue;
        error = true;
        run.expect(!diagnostic.path.empty(),
                   "validate() says '" + diagnostic.summary + "' and not which option (path)");
      }
      if (must_pass && (status != HYPER_OK || error))
        run.fail("validate() refuses the options: " +
                 (op.diagnostics().empty() ? "no reason given" : to_string(op.diagnostics()[0])));
      run.expect(status == HYPER_OK || error, "validate() fails without a report()");
    };
    checked(valid, run.options_were_given());
    for (nlohmann::json& varied : option_variations(run.manifest(), valid.value(), 200))
      checked(Options(std::move(varied)), false);
    if (id != HYPER_IFACE_CONVERTER) continue;
    // Opening a converter touches nothing outside: odd options may be tried on it.
    for (nlohmann::json& varied : option_variations(run.manifest(), valid.value(), 40)) {
      Operation op = operation("open");
      run.at("open(" + varied.dump().substr(0, 80) + ")");
      try {
        ConverterHandle converter(plugin, Options(std::move(varied)), op);
      } catch (const Error& error) {
        run.expect_error("open()", [&] { throw Error(error.diagnostic()); });
      }
    }
  }
}

}  // namespace hyperhost::check
