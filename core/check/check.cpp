// SPDX-License-Identifier: Apache-2.0
#include "core/check/check.hpp"

#include <hyper/draft/boot.h>
#include <hyper/draft/guest.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <deque>
#include <filesystem>

#include "core/base/near_miss.hpp"
#include "core/base/redactor.hpp"
#include "core/check/run.hpp"
#include "core/os/child_process.hpp"
#include "core/plugin/elf_section.hpp"

namespace hyperhost::check {
namespace {

namespace fs = std::filesystem;

constexpr int kDeepTimes = 10;  // a case's time limit with --deep

/// A directory of the suite's own, gone with this object.
class Scratch {
 public:
  Scratch() {
    std::string path = (fs::temp_directory_path() / "hyperhost-check-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) throw errno_error(errno, "create " + path);
    path_ = path;
  }
  ~Scratch() {
    std::error_code error;
    fs::remove_all(path_, error);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// Readable when the time is over.
Fd deadline(int seconds) {
  Fd fd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  itimerspec when{};
  when.it_value.tv_sec = seconds;
  if (!fd.valid() || ::timerfd_settime(fd.get(), 0, &when, nullptr) != 0)
    throw errno_error(errno, "set a timer");
  return fd;
}

std::string signal_name(int signal) {
  const char* name = ::sigabbrev_np(signal);
  return name == nullptr ? "signal " + std::to_string(signal) : "SIG" + std::string(name);
}

CaseResult run_child(const Settings& settings, const Case& one, const std::string& scratch) {
  const std::vector<std::string> argv = child_arguments(settings, one.name, scratch);
  CaseResult result;
  result.name = one.name;
  result.what = one.what;
  result.result = "passed";
  const auto add = [](std::vector<std::string>& to, std::string text) {
    if (to.size() < 20 && std::find(to.begin(), to.end(), text) == to.end())
      to.push_back(std::move(text));
  };
  std::string at;
  bool done = false;
  std::deque<std::string> log;
  const auto begin = std::chrono::steady_clock::now();
  ChildProcess child(argv, -1, {"*"});  // a plugin that is tried sees what the user gave it
  const int seconds =
      settings.seconds != 0 ? settings.seconds : one.seconds * (settings.deep ? kDeepTimes : 1);
  const Fd timer = deadline(seconds);
  const bool in_time = read_lines(child, timer.get(), [&](int stream, const std::string& line) {
    const auto said = stream == 1 ? nlohmann::json::parse(line, nullptr, false) : nlohmann::json();
    if (!said.is_object()) {
      log.push_back(Redactor::global().redact(line.substr(0, 1000)));
      if (log.size() > 8) log.pop_front();
      return;
    }
    const auto text = [&](const char* key) { return said.value(key, std::string()); };
    if (said.contains("at")) at = text("at");
    if (said.contains("fail")) add(result.findings, text("fail"));
    if (said.contains("note")) add(result.notes, text("note"));
    if (said.contains("skip")) {
      if (result.result == "passed") result.result = "skipped";
      add(result.findings, text("skip"));
    }
    if (said.contains("done")) done = true;
    if (said.contains("fail")) result.result = "failed";
  });
  const int status = in_time ? child.wait() : 0;
  result.milliseconds = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                                  std::chrono::steady_clock::now() - begin)
                                                  .count());
  const std::string in = at.empty() ? "" : " in " + at;
  if (!done) {
    result.result = "failed";
    if (!in_time)
      add(result.findings, "it does not end within " + std::to_string(seconds) + " s" + in);
    else if (status < 0)
      add(result.findings, "it crashes with " + signal_name(-status) + in);
    else
      add(result.findings, "it ends the process (exit status " + std::to_string(status) + ")" + in);
  }
  if (result.result == "failed") result.log.assign(log.begin(), log.end());
  return result;
}

bool concerns(const Case& one, const nlohmann::json& manifest, const Settings& settings) {
  if (one.deep && !settings.deep && settings.only != one.name) return false;
  if (one.iface == nullptr) return true;
  const auto found = manifest.find("interfaces");
  return found != manifest.end() && found->is_array() &&
         std::find(found->begin(), found->end(), one.iface) != found->end();
}

}  // namespace

std::vector<std::string> child_arguments(const Settings& settings, const std::string& name,
                                         const std::string& scratch) {
  std::vector<std::string> argv{"/proc/self/exe", "--log-level", "debug"};
  for (const std::string& dir : settings.plugin_dirs)
    argv.insert(argv.end(), {"--plugin-dir", dir});
  argv.insert(argv.end(),
              {"plugins", "check", settings.file, "--in-child", name, "--scratch", scratch});
  if (!settings.step.empty()) argv.insert(argv.end(), {"--step", settings.step});
  if (settings.isolated) argv.push_back("--isolated");
  if (settings.deep) argv.push_back("--deep");
  if (!settings.options_file.empty()) argv.insert(argv.end(), {"--options", settings.options_file});
  for (const std::string& sample : settings.samples) argv.insert(argv.end(), {"--sample", sample});
  return argv;
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      {"symbols", "one exported symbol", nullptr, 5, case_static},
      {"manifest", "a manifest that says what it must", nullptr, 5, case_manifest},
      {"load", "loads, its entry is pure, its descriptor is right", nullptr, 5, case_load},
      {"greeting", "takes any host's greeting, or says why not", nullptr, 5, case_greeting},
      {"old-host", "runs on a host of ABI 1.0 without extensions", nullptr, 5, case_old_host},
      {"future-host", "runs on a host of a later minor", nullptr, 5, case_future_host},
      {"interfaces", "offers what its manifest says, whole", nullptr, 5, case_interfaces},
      {"start-stop", "starts and stops a hundred times without a trace", nullptr, 15,
       case_start_stop},
      {"options", "any options that fit the schema are taken or refused with their path", nullptr,
       15, case_options},
      {"refusals", "refuses flags and members that it does not know", nullptr, 10, case_refusals},
      {"provider", "what it lists can be described, opened and read", HYPER_IFACE_PROVIDER, 30,
       case_provider},
      {"provider-description", "what a description says is true", HYPER_IFACE_PROVIDER, 20,
       case_provider_description},
      {"provider-cancel", "stops within 2 s of a cancel", HYPER_IFACE_PROVIDER, 12,
       case_provider_cancel},
      {"provider-again", "leaves nothing behind", HYPER_IFACE_PROVIDER, 20, case_provider_again},
      {"provider-kill", "what a killed process leaves is undone", HYPER_IFACE_PROVIDER, 20,
       case_provider_kill},
      {"image", "reads what is in an image", HYPER_IFACE_IMAGE, 20, case_image},
      {"image-damaged", "survives what is no image, or a damaged one", HYPER_IFACE_IMAGE, 20,
       case_image_damaged},
      {"image-again", "leaves nothing behind", HYPER_IFACE_IMAGE, 20, case_image_again},
      {"converter-plan", "plans, or says why not", HYPER_IFACE_CONVERTER, 10, case_converter_plan},
      {"converter", "the bytes stay what they are", HYPER_IFACE_CONVERTER, 20, case_converter},
      {"converter-failures", "passes failures on", HYPER_IFACE_CONVERTER, 15,
       case_converter_failures},
      {"converter-cancel", "stops within 2 s of a cancel", HYPER_IFACE_CONVERTER, 12,
       case_converter_cancel},
      {"converter-again", "leaves nothing behind", HYPER_IFACE_CONVERTER, 20, case_converter_again},
      {"converter-resume", "continues from any state that it saved", HYPER_IFACE_CONVERTER, 20,
       case_converter_resume},
      {"converter-large", "a disk of more than 4 GiB", HYPER_IFACE_CONVERTER, 60,
       case_converter_large, true},
      {"guest", "looks and changes nothing", HYPER_IFACE_GUEST, 600, case_guest},
      {"guest-prepare", "says what it changed, and passes failures on", HYPER_IFACE_GUEST, 900,
       case_guest_prepare},
      {"guest-cancel", "stops within 2 s of a cancel", HYPER_IFACE_GUEST, 120, case_guest_cancel},
      {"boot", "a guest that cannot boot is a result", HYPER_IFACE_BOOT, 40, case_boot},
      {"boot-cancel", "stops within 2 s of a cancel", HYPER_IFACE_BOOT, 12, case_boot_cancel},
      {"target", "a machine is defined once, and what exists stays", HYPER_IFACE_TARGET, 60,
       case_target},
      {"target-disks", "a disk is there as it was put, or not at all", HYPER_IFACE_TARGET, 60,
       case_target_disks},
      {"target-cancel", "stops within 2 s of a cancel", HYPER_IFACE_TARGET, 12, case_target_cancel},
      {"storage", "what is committed is there, whole", HYPER_IFACE_STORAGE, 20, case_storage},
      {"storage-place", "info() is true and changes nothing", HYPER_IFACE_STORAGE, 12,
       case_storage_place},
      {"storage-keys", "any key is taken, listed and removed", HYPER_IFACE_STORAGE, 12,
       case_storage_keys},
      {"storage-sinks", "sinks end where commit() says, and write in parallel", HYPER_IFACE_STORAGE,
       20, case_storage_sinks},
      {"storage-abort", "what is not committed leaves nothing", HYPER_IFACE_STORAGE, 12,
       case_storage_abort},
      {"storage-again", "leaves nothing behind", HYPER_IFACE_STORAGE, 20, case_storage_again},
      {"storage-kill", "what a killed process leaves is undone", HYPER_IFACE_STORAGE, 20,
       case_storage_kill},
  };
  return all;
}

std::size_t Report::count(const std::string& result) const {
  return static_cast<std::size_t>(std::count_if(
      cases.begin(), cases.end(), [&](const CaseResult& one) { return one.result == result; }));
}

Report check_plugin(const Settings& settings) {
  Report report;
  report.file = settings.file;
  report.strict = settings.strict;
  if (!settings.only.empty() && std::none_of(cases().begin(), cases().end(), [&](const Case& one) {
        return settings.only == one.name;
      })) {
    std::vector<std::string> names;
    for (const Case& one : cases()) names.push_back(one.name);
    throw Error(Code::kConfig, "there is no case '" + settings.only + "'", "",
                suggest(settings.only, names));
  }
  auto section = read_elf_section(settings.file, HYPER_MANIFEST_SECTION);  // says what is no plugin
  if (section) section->resize(::strnlen(section->data(), section->size()));
  nlohmann::json manifest = nlohmann::json::parse(section.value_or(""), nullptr, false);
  if (!manifest.is_object()) manifest = nlohmann::json::object();
  const auto text = [&](const char* key) {
    const auto found = manifest.find(key);
    return found != manifest.end() && found->is_string() ? found->get<std::string>() : "";
  };
  report.id = text("id");
  report.version = text("version");

  const Scratch scratch;
  bool loads = true;
  for (const Case& one : cases()) {
    if (!settings.only.empty() && settings.only != one.name) continue;
    if (!concerns(one, manifest, settings)) continue;
    if (!loads) {
      report.cases.push_back({one.name, one.what, "skipped", {"it does not load"}, {}, {}, 0});
      continue;
    }
    const fs::path place = scratch.path() / one.name;
    fs::create_directory(place);
    report.cases.push_back(run_child(settings, one, place.string()));
    std::error_code error;
    fs::remove_all(place, error);
    const std::string name = one.name;
    if ((name == "load" || name == "manifest") && report.cases.back().result == "failed")
      loads = false;
  }
  return report;
}

nlohmann::json to_json(const Report& report) {
  nlohmann::json cases = nlohmann::json::array();
  for (const CaseResult& one : report.cases)
    cases.push_back({{"name", one.name},
                     {"what", one.what},
                     {"result", one.result},
                     {"findings", one.findings},
                     {"notes", one.notes},
                     {"log", one.log},
                     {"milliseconds", one.milliseconds}});
  return {{"file", report.file},
          {"id", report.id},
          {"version", report.version},
          {"ok", report.ok()},
          {"passed", report.count("passed")},
          {"failed", report.count("failed")},
          {"skipped", report.count("skipped")},
          {"cases", cases}};
}

}  // namespace hyperhost::check
