// SPDX-License-Identifier: Apache-2.0
#include "plugins/boot/qemu-boot/qemu_boot.hpp"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "plugins/boot/qemu-boot/boot_check.hpp"
#include "plugins/boot/qemu-boot/machine.hpp"

namespace hyperhost::qemu_boot {
namespace {

std::string text_of(const nlohmann::json& document) {
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Grade required(const hyper::Doc& request) {
  const std::string name = request.string("/require", "login");
  if (name == "traces")
    throw hyper::Error(HYPER_UNSUPPORTED, "qemu-boot does not read a guest's traces yet")
        .at("/require")
        .hint("require: login or agent");
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

/// Asks the host to make the disk readable for QEMU. Null: not in this way.
nlohmann::json attached(hyper::Op op, const hyper_block& disk, int32_t how) {
  std::string text;
  const hyper_emit emit = [](void* arg, const char* json, uint64_t len) noexcept -> hyper_st {
    try {
      static_cast<std::string*>(arg)->assign(json, static_cast<std::size_t>(len));
      return HYPER_OK;
    } catch (...) {
      return HYPER_FAIL;
    }
  };
  const hyper_st status = disk.attach(disk.ctx, op.raw(), 0, how, emit, &text);
  if (status == HYPER_UNSUPPORTED) return nullptr;
  hyper::check(status);
  auto document = nlohmann::json::parse(text, nullptr, false);
  if (!document.is_object()) throw hyper::Error(HYPER_FAIL, "the host attached a disk in no form");
  return document;
}

/// The node of QEMU's block layer for a disk. A node of a file names no other file.
nlohmann::json node_of(hyper::Op op, const hyper_block& disk) {
  if ((disk.flags & HYPER_BLOCK_ATTACH) == 0 || disk.attach == nullptr)
    throw hyper::Error(HYPER_UNSUPPORTED, std::string("the disk ") + disk.id +
                                              " cannot be attached, and QEMU reads no other");
  if (const auto nbd = attached(op, disk, HYPER_ATTACH_NBD_UNIX); !nbd.is_null())
    return {{"driver", "nbd"},
            {"server", {{"type", "unix"}, {"path", nbd.value("socket", "")}}},
            {"export", nbd.value("export", "")}};
  const auto file = attached(op, disk, HYPER_ATTACH_QCOW2);
  if (file.is_null())
    throw hyper::Error(HYPER_UNSUPPORTED, std::string("the host attaches the disk ") + disk.id +
                                              " in no way that QEMU understands");
  const std::string format = file.value("format", "qcow2");
  nlohmann::json node{{"driver", format == "vhd" ? "vpc" : format},
                      {"file", {{"driver", "file"}, {"filename", file.value("path", "")}}}};
  // Where the host itself made the overlay, its base is what it says.
  if (format == "qcow2" && (disk.flags & HYPER_BLOCK_WRITE) == 0) node["backing"] = nullptr;
  return node;
}

/// Gives the disks back, whatever happens.
class Attached {
 public:
  Attached(hyper::Op op, const hyper_block* disks, uint32_t count) : op_(op), disks_(disks) {
    for (; count_ < count; ++count_) {
      try {
        nodes_.push_back(node_of(op, disks[count_]));
      } catch (...) {
        detach();
        throw;
      }
    }
  }
  ~Attached() { detach(); }
  Attached(const Attached&) = delete;
  Attached& operator=(const Attached&) = delete;
  const std::vector<nlohmann::json>& nodes() const { return nodes_; }

 private:
  void detach() noexcept {
    for (; count_ > 0; --count_)
      if (const hyper_block& disk = disks_[count_ - 1]; disk.detach != nullptr)
        static_cast<void>(disk.detach(disk.ctx, op_.raw(), 0));
  }
  const hyper::Op op_;
  const hyper_block* const disks_;
  uint32_t count_ = 0;
  std::vector<nlohmann::json> nodes_;
};

}  // namespace

std::unique_ptr<QemuBoot> QemuBoot::open(const hyper::Doc& options, hyper::Op op) {
  Settings settings = read_settings(options);
  std::string qemu = find_qemu(settings.qemu);
  std::string version = version_of(op, qemu);
  return std::make_unique<QemuBoot>(std::move(settings), std::move(qemu), std::move(version));
}

std::string QemuBoot::plan(hyper::Op, const hyper::Doc& request) {
  static_cast<void>(required(request));
  const Machine machine = read_machine(request, settings_);
  if (machine.uefi)
    static_cast<void>(find_uefi({"/etc/qemu/firmware", "/usr/share/qemu/firmware"}, machine.type));
  const nlohmann::json program{{"name", qemu_}, {"version", version_}};
  return text_of({{"programs", nlohmann::json::array({program})},
                  {"memory_bytes", machine.memory},
                  {"notes", machine.notes}});
}

std::string QemuBoot::accel(hyper::Op op, std::string& why) {
  if (settings_.accel != "auto") return settings_.accel;
  std::unique_lock lock(accel_mutex_, std::defer_lock);
  while (!lock.try_lock_for(std::chrono::milliseconds(100))) op.check_cancelled();
  if (!accel_) accel_ = kvm_works(op, qemu_, why_tcg_) ? "kvm" : "tcg";
  why = why_tcg_;
  return *accel_;
}

std::string QemuBoot::check(hyper::Op op, const hyper::Doc& request, const hyper_block* disks,
                            uint32_t count) {
  CheckRequest asked{
      required(request),
      static_cast<uint64_t>(std::max<int64_t>(1, request.integer("/timeout_ms", 600'000))),
      request.string("/picture")};
  const Machine machine = read_machine(request, settings_);
  if (machine.buses.size() != count)
    throw hyper::Error(HYPER_CONFIG, "the machine has another number of disks than the call")
        .at("/machine/disks");
  std::string why_tcg;
  const std::string accelerator = accel(op, why_tcg);
  const Turn turn(op, running_mutex_, running_, settings_.parallel);
  const Attached attached(op, disks, count);
  Guest guest(op, qemu_, arguments_of(machine, accelerator, attached.nodes()),
              request.string("/scratch_dir"));
  nlohmann::json answer = BootCheck(op, guest, settings_, std::move(asked)).run();
  answer["accel"] = accelerator;
  std::vector<std::string> notes = machine.notes;
  if (accelerator == "tcg" && !why_tcg.empty())
    notes.push_back("the guest ran without KVM: " + why_tcg);
  answer["notes"] = notes;
  return text_of(answer);
}

}  // namespace hyperhost::qemu_boot
