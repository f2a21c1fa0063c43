// SPDX-License-Identifier: Apache-2.0
#include "plugins/boot/qemu-boot/qemu_boot.hpp"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "plugins/boot/qemu-boot/boot_check.hpp"
#include "plugins/boot/qemu-boot/machine.hpp"
#include "plugins/boot/qemu-boot/tpm.hpp"
#include "plugins/find_program.hpp"

namespace hyperhost::qemu_boot {
namespace {

constexpr const char* kInstallTpm =
    "install it: apt-get install swtpm (Debian, Ubuntu), dnf install swtpm (Fedora)";

std::string text_of(const nlohmann::json& document) {
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// For traces the guest starts its services and is stopped by its button: both as for a login.
bool wants_traces(const hyper::Doc& request) {
  return request.string("/require") == "traces";
}

Grade required(const hyper::Doc& request, const Settings& settings) {
  if (wants_traces(request)) {
    if (settings.stop_timeout_ms == 0)
      throw hyper::Error(HYPER_CONFIG, "a guest that is switched off leaves no traces to rely on")
          .at("/stop_timeout")
          .hint("require: traces needs a stop_timeout");
    return Grade::kLogin;
  }
  const std::string name = request.string("/require", "login");
  const auto grade = grade_named(name);
  if (!grade || *grade < Grade::kLoader)
    throw hyper::Error(HYPER_UNSUPPORTED, "qemu-boot knows no grade '" + name + "'").at("/require");
  return *grade;
}

/// One of the guests that may run at once.
class Turn {
 public:
  Turn(hyper::Op op, std::mutex& mutex, unsigned& running, unsigned most)
      : mutex_(mutex), running_(running) {
    constexpr uint64_t kWaitNs = 200'000'000;
    for (;; op.sleep_ns(kWaitNs)) {
      const std::lock_guard lock(mutex_);
      if (running_ >= most) continue;
      ++running_;
      return;
    }
  }
  ~Turn() {
    const std::lock_guard lock(mutex_);
    --running_;
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  std::mutex& mutex_;
  unsigned& running_;
};

std::string no_tpm_text(const std::string& program) {
  return "the machine of the check has no TPM: \"" + program + "\" is not installed";
}

/// The machine's TPM; null where it has none, or where there is no program for one.
std::unique_ptr<Tpm> tpm_for(hyper::Op op, const Machine& machine, const Settings& settings) {
  if (!machine.tpm) return nullptr;
  if (const std::string program = find_program(settings.swtpm); !program.empty())
    return std::make_unique<Tpm>(op, program);
  op.report(hyper::Error(HYPER_NOTFOUND, no_tpm_text(settings.swtpm)).hint(kInstallTpm),
            HYPER_SEVERITY_WARNING);
  return nullptr;
}

/// A node of QEMU's block layer for each disk. It names no file: the host reads the images.
std::vector<nlohmann::json> nodes_of(const hyper::AttachedBlocks& attached) {
  std::vector<nlohmann::json> out;
  for (const auto& disk : attached.served())
    out.push_back({{"driver", "nbd"},
                   {"server", {{"type", "unix"}, {"path", disk.socket}}},
                   {"export", disk.name}});
  return out;
}

bool came_late(const nlohmann::json& answer) {
  return may_be_late(answer.value("failed", ""), answer.value("failure", "") + "\n" +
                                                     answer["console_tail"].get<std::string>());
}

}  // namespace

std::unique_ptr<QemuBoot> QemuBoot::open(const hyper::Doc& options, hyper::Op op) {
  Settings settings = read_settings(options);
  std::string qemu = find_qemu(settings.qemu);
  std::string version = version_of(op, qemu);
  return std::make_unique<QemuBoot>(std::move(settings), std::move(qemu), std::move(version));
}

std::string QemuBoot::plan(hyper::Op, const hyper::Doc& request) {
  static_cast<void>(required(request, settings_));
  const Machine machine = read_machine(request, settings_);
  if (machine.uefi) static_cast<void>(installed_uefi(machine));
  nlohmann::json programs{{{"name", qemu_}, {"version", version_}}};
  std::vector<std::string> notes = machine.notes;
  if (machine.tpm) {
    if (const std::string swtpm = find_program(settings_.swtpm); !swtpm.empty())
      programs.push_back({{"name", swtpm}});
    else
      notes.push_back(no_tpm_text(settings_.swtpm));
  }
  return text_of({{"programs", programs}, {"memory_bytes", machine.memory}, {"notes", notes}});
}

std::string QemuBoot::accel(hyper::Op op, std::string& why) {
  if (settings_.accel != "auto") return settings_.accel;
  std::unique_lock lock(accel_mutex_, std::defer_lock);
  while (!lock.try_lock_for(std::chrono::milliseconds(100))) op.check_cancelled();
  if (!accel_) accel_ = kvm_works(op, qemu_, why_tcg_) ? "kvm" : "tcg";
  why = why_tcg_;
  return *accel_;
}

std::string QemuBoot::check(hyper::Op op, const hyper::Doc& request,
                            const std::vector<hyper::BlockRef>& disks) {
  CheckRequest asked{
      required(request, settings_),
      static_cast<uint64_t>(std::max<int64_t>(1, request.integer("/timeout_ms", 600'000))),
      request.string("/picture"), wants_traces(request)};
  Machine machine = read_machine(request, settings_);
  if (machine.buses.size() != disks.size())
    throw hyper::Error(HYPER_CONFIG, "the machine has another number of disks than the call")
        .at("/machine/disks");
  machine.keeps_writes = std::all_of(disks.begin(), disks.end(), [](const hyper::BlockRef& disk) {
    return disk.can(HYPER_BLOCK_WRITE);
  });
  std::string why_tcg;
  const std::string accelerator = accel(op, why_tcg);
  const Turn turn(op, running_mutex_, running_, settings_.parallel);
  const hyper::AttachedBlocks attached(op, disks);
  const auto boot = [&] {
    const std::unique_ptr<Tpm> tpm = tpm_for(op, machine, settings_);
    Guest guest(op, qemu_,
                arguments_of(machine, accelerator, nodes_of(attached), tpm ? tpm->socket() : ""),
                request.string("/scratch_dir"));
    return BootCheck(op, guest, settings_, asked).run();
  };
  nlohmann::json answer = boot();
  std::vector<std::string> notes = machine.notes;
  const uint64_t took_ms = answer["ms"];
  if (accelerator == "tcg" && came_late(answer) && took_ms < asked.timeout_ms) {
    notes.push_back("the guest failed as one that is short of time does (" +
                    answer["failed"].get<std::string>() +
                    "); it was started again with a clock that counts its instructions");
    asked.timeout_ms -= took_ms;
    machine.counted_clock = true;
    answer = boot();
  }
  answer["accel"] = accelerator;
  if (accelerator == "tcg" && !why_tcg.empty())
    notes.push_back("the guest ran without KVM: " + why_tcg);
  answer["notes"] = notes;
  return text_of(answer);
}

}  // namespace hyperhost::qemu_boot
