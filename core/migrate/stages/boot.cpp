// SPDX-License-Identifier: Apache-2.0
// Boots what was delivered: a plugin starts the VM's finished disks on the machine that they are
// for, and its report is compared with what the plan requires. The disks are never changed.
#include <algorithm>
#include <filesystem>

#include "core/base/json_text.hpp"
#include "core/block/block_table.hpp"
#include "core/block/overlay.hpp"
#include "core/disk/local_sources.hpp"
#include "core/migrate/boot_traces.hpp"
#include "core/migrate/handed_directory.hpp"
#include "core/migrate/machine.hpp"
#include "core/migrate/stages/stages.hpp"
#include "core/migrate/vm_run.hpp"

namespace hyperhost {
namespace {

using Json = nlohmann::json;

class Boot final : public VmStage {
 public:
  std::vector<Stage> announces(const MigrationConfig&) const override { return {Stage::kBoot}; }
  void check(VmCheck& check) override;
  void run(VmRun& run) override;
};

Json request_of(const MigrationConfig& job, const VmRoute& route, const Json& guest) {
  return {{"vm", route.vm.name},
          {"machine", machine_to_build(job.boot.machine, job.target, route, guest)},
          {"require", boot_grade_name(job.boot.require)},
          {"timeout_ms",
           std::chrono::duration_cast<std::chrono::milliseconds>(job.boot.timeout).count()},
          {"network", job.boot.isolated_network ? "isolated" : "none"}};
}

void Boot::check(VmCheck& check) {
  try {
    const Json plan = check.session.boot(check.job.boot_plugin, check.op)
                          .plan(check.op, request_of(check.job, check.route, nullptr));
    for (const auto& note : plan.value("notes", Json::array())) {
      Diagnostic finding;
      finding.severity = Severity::kInfo;
      finding.code = Code::kOk;
      finding.path = "vm/" + check.route.vm.name;
      finding.summary = "boot check: " + note.get<std::string>();
      check.route.findings.push_back(std::move(finding));
    }
  } catch (const Error& failure) {
    // Of the plan's key: a program that is missing is missing for every VM.
    Diagnostic diagnostic = failure.diagnostic();
    diagnostic.path = "boot/" + check.job.boot_plugin.plugin;
    check.route.findings.push_back(std::move(diagnostic));
  }
  if (check.job.boot.require == BootGrade::kTraces) check_traces(check);
}

/// A text of the plugin's answer, which repeats what a guest wrote: printable ASCII and, in a text
/// of several lines, line ends.
std::string cleaned(const Json& answer, const char* member, std::size_t most, bool lines = false) {
  std::string out;
  for (const char c : text_of(answer, member))
    if ((c >= 0x20 && c < 0x7f) || (lines && c == '\n')) out += c;
  return out.size() <= most ? out : out.substr(out.size() - most);
}

/// REQUIRES: one of the grades of the schema.
std::ptrdiff_t rank(const std::string& grade) {
  static const char* const kGrades[] = {"none",  "firmware", "loader", "kernel",
                                        "login", "agent",    "traces"};
  return std::find(std::begin(kGrades), std::end(kGrades), grade) - std::begin(kGrades);
}

/// The plugin's answer with the members that are known, bounded, and the verdict.
Json judged(const BootSettings& boot, const Json& answer) {
  constexpr std::size_t kMostReached = 32, kMostNotes = 16, kText = 256, kTail = 8192;
  const std::string grade = text_of(answer, "grade");
  Json out = {{"require", boot_grade_name(boot.require)},
              {"grade", grade},
              {"accel", cleaned(answer, "accel", kText)},
              {"stopped", cleaned(answer, "stopped", kText)},
              {"console_tail", cleaned(answer, "console_tail", kTail, true)},
              {"reached", Json::array()},
              {"notes", Json::array()}};
  const std::string failed = cleaned(answer, "failed", kText);
  if (!failed.empty()) {
    out["failed"] = failed;
    out["failure"] = cleaned(answer, "failure", kText);
  }
  out["booted"] = failed.empty() && rank(grade) >= rank(boot_grade_name(boot.require));
  for (const Json& one : answer.value("reached", Json::array()))
    if (out["reached"].size() < kMostReached)
      out["reached"].push_back({{"grade", cleaned(one, "grade", kText)},
                                {"ms", one.value("ms", uint64_t{0})},
                                {"evidence", cleaned(one, "evidence", kText)}});
  for (const Json& one : answer.value("notes", Json::array()))
    if (out["notes"].size() < kMostNotes)
      out["notes"].push_back(cleaned({{"note", one}}, "note", kText));
  return out;
}

/// What stopped the guest, as the end of a sentence.
std::string reason(const Json& boot, std::chrono::nanoseconds timeout) {
  static const std::pair<const char*, const char*> kReasons[] = {
      {"no-boot-device", "its firmware finds nothing to boot"},
      {"efi-shell", "its firmware finds nothing to boot and offers its shell"},
      {"secure-boot", "its firmware refuses its loader, which no valid key has signed"},
      {"grub-rescue", "GRUB does not find its files"},
      {"initramfs", "its kernel does not find the root file system"},
      {"panic", "its kernel panics"},
      {"emergency", "it ends in emergency mode"},
      {"bsod", "Windows stops with an error"},
      {"reboot-loop", "it restarts again and again"},
      {"no-clean-stop", "its power button does not stop it"},
      {"no-traces", "its own records do not show the boot"}};
  std::string failed = boot.value("failed", "");
  for (const auto& [name, text] : kReasons)
    if (failed == name) return std::string(text) + " (" + failed + ")";
  if (!failed.empty()) return failed;
  const std::string came =
      "it reached '" + boot.value("grade", "") + "' and not '" + boot.value("require", "") + "'";
  return came +
         (boot.value("stopped", "") == "guest"
              ? " before it powered off"
              : " within " +
                    std::to_string(std::chrono::ceil<std::chrono::seconds>(timeout).count()) +
                    " s");
}

Error not_booted(const VmRun& run, const Json& boot) {
  std::string detail = boot.value("failure", "");
  if (detail.empty()) {
    const std::string tail = boot.value("console_tail", "");
    const std::size_t end = tail.find_last_not_of('\n');
    const std::size_t begin = end == std::string::npos ? end : tail.rfind('\n', end);
    if (end != std::string::npos)
      detail =
          "its console ends with: " + tail.substr(begin == std::string::npos ? 0 : begin + 1, 200);
    while (!detail.empty() && detail.back() == '\n') detail.pop_back();
  }
  Diagnostic diagnostic;
  diagnostic.code = Code::kFail;
  diagnostic.path = "vm/" + run.route.vm.name;
  diagnostic.rule = "boot." + boot.value("failed", "not-reached");
  diagnostic.summary = "the delivered VM does not boot: " + reason(boot, run.job.boot.timeout);
  diagnostic.detail = detail;
  diagnostic.hint = "its console and its screen are in the result (hyperhost result VM)" +
                    (boot.contains("screen") ? ": " + boot.value("screen", "") : std::string());
  return Error(diagnostic);
}

/// The screen's picture, where the plugin made one. handed: where it made it; null: in its place.
void take_picture(VmRun& run, const Json& answer, const std::filesystem::path& stem,
                  const HandedDirectory* handed, Json& boot) {
  const Json screens = answer.value("screens", Json::array());
  for (const char* extension : {".png", ".ppm"}) {
    const std::filesystem::path path = stem.string() + extension;
    const std::string name = path.filename().string();
    if (handed != nullptr) handed->take(name, path);
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    const std::string made = handed != nullptr ? (handed->path() / name).string() : path.string();
    const bool wanted = std::find(screens.begin(), screens.end(), made) != screens.end();
    // Where local files do not stay, only a guest that does not boot leaves one.
    if (wanted && (run.keeps_local_files() || !boot.value("booted", false)))
      boot["screen"] = path.string();
    else
      std::filesystem::remove(path, ignored);
  }
}

/// Of a VM whose files go again. The picture of a guest that does not boot stays: the result names
/// it, and it may be all that there is to see.
void drop_picture(VmRun& run, const std::filesystem::path& stem) {
  Json& boot = run.result.boot;
  if (boot.is_object() && boot.contains("screen") && !boot.value("booted", false)) return;
  std::error_code ignored;
  for (const char* extension : {".png", ".ppm"})
    std::filesystem::remove(stem.string() + extension, ignored);
  if (boot.is_object()) boot.erase("screen");
}

using Devices = std::vector<std::shared_ptr<BlockDevice>>;

Devices read_only(const std::vector<std::shared_ptr<SourceHandle>>& sources) {
  Devices out;
  for (const auto& source : sources) out.push_back(read_only_device(source));
  return out;
}

/// The delivered disks, as their images read.
std::vector<std::shared_ptr<SourceHandle>> open_disks(VmRun& run) {
  std::vector<std::shared_ptr<SourceHandle>> out;
  for (const auto& disk : run.disks) {
    const DiskResult& result = disk->result();
    std::string used;
    out.push_back(run.session.images().open(open_file_source(result.path), result.target_format, {},
                                            run.op, used));
  }
  return out;
}

/// Boots disks, which may take what the guest writes.
Json check_disks(VmRun& run, Operation& op, const Json& request, const Devices& disks) {
  std::vector<std::unique_ptr<BlockTable>> tables;
  std::vector<hyper_block> blocks;
  BootHandle& boot = run.session.boot(run.job.boot_plugin, op);
  for (std::size_t i = 0; i < disks.size(); ++i) {
    tables.push_back(std::make_unique<BlockTable>(run.disks[i]->result().id, disks[i], run.op,
                                                  boot.plugin().user()));
    blocks.push_back(tables.back()->table());
  }
  return boot.check(op, request, blocks);
}

/// The same where the guest's own records have to show the boot: it writes to overlays, which go
/// when they were read.
Json check_with_traces(VmRun& run, Operation& op, const Json& request,
                       const std::filesystem::path& scratch) {
  const auto& clock = *run.session.services().clock;
  const auto images = open_disks(run);
  const Json before = read_traces(run, read_only(images));
  Devices overlays;
  for (const auto& image : images) overlays.push_back(Overlay::scratch(image, scratch));
  const auto began = clock.steady();
  Json answer = check_disks(run, op, request, overlays);
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(clock.steady() - began);
  if (!text_of(answer, "failed").empty() || rank(text_of(answer, "grade")) < rank("kernel"))
    return answer;
  if (text_of(answer, "stopped") != "guest") {
    answer["failed"] = "no-clean-stop";
    answer["failure"] = "what a guest that was switched off has on its disks proves little";
    return answer;
  }
  std::vector<std::shared_ptr<SourceHandle>> written;
  for (const auto& overlay : overlays) written.push_back(open_block_source(overlay));
  run.inform("the guest has stopped; " + run.job.traces_plugin.plugin + " reads what it left",
             "boot");
  add_traces(before, read_traces(run, read_only(written)), static_cast<uint64_t>(took.count()),
             answer);
  return answer;
}

void Boot::run(VmRun& run) {
  run.cancel->check();
  const std::string& plugin = run.job.boot_plugin.plugin;
  run.stages.announce(Stage::kBoot, 0,
                      plugin + ", up to '" + boot_grade_name(run.job.boot.require) + "'");
  run.stages.begin(Stage::kBoot);
  Operation op = run.operation(run.route.vm.name);
  op.on_notice([&](const Diagnostic& diagnostic) { run.notice(diagnostic, "boot"); });
  const auto user = run.session.boot(run.job.boot_plugin, op).plugin().user();
  const std::filesystem::path picture = run.route.directory / "boot-screen";
  const std::filesystem::path& place =
      run.job.staging_dir.empty() ? run.route.directory : run.job.staging_dir;
  std::unique_ptr<HandedDirectory> handed;
  if (user) handed = std::make_unique<HandedDirectory>(op.services().journal, place, *user);
  Json request = request_of(run.job, run.route, run.result.guest);
  request["picture"] = (handed ? handed->path() / picture.filename() : picture).string();
  request["scratch_dir"] = (handed ? handed->path() : place).string();
  const std::string& disk_id = boot_disk(run.route).disk.id;
  uint64_t read = 0;
  op.on_progress([&](uint64_t done, uint64_t) {
    read = done;
    run.stages.progress(Stage::kBoot, disk_id, done, 0);
  });
  const auto& clock = *run.session.services().clock;
  const auto began = clock.steady();
  run.undo.push([&run, picture] { drop_picture(run, picture); });
  const Json answer = run.job.boot.require == BootGrade::kTraces
                          ? check_with_traces(run, op, request, place)
                          : check_disks(run, op, request, read_only(open_disks(run)));
  Json boot = judged(run.job.boot, answer);
  take_picture(run, answer, picture, handed.get(), boot);
  handed.reset();
  run.result.boot = boot;
  const bool booted = boot.value("booted", false);
  run.stages.disk_finished(disk_id, booted);
  run.stages.end(Stage::kBoot, booted, read);
  run.result.boot_duration = clock.steady() - began;
  for (const auto& note : boot["notes"])
    run.inform("boot check: " + note.get<std::string>(), "boot");
  if (booted) return;
  const Error failure = not_booted(run, boot);
  if (!run.job.boot.warn_only) throw Error(failure);
  run.warn(failure, "boot");
}

}  // namespace

std::unique_ptr<VmStage> boot_stage() {
  return std::make_unique<Boot>();
}

}  // namespace hyperhost
