// SPDX-License-Identifier: Apache-2.0
// hyper.guest/draft-1: looking writes nothing, a preparation says what it changed, and a disk that
// fails, or a cancel, ends the call. The guest is a disk of zeros, so that a plugin may well say
// that it finds no system.
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "core/block/block_table.hpp"
#include "core/check/opened.hpp"
#include "core/check/test_disks.hpp"
#include "core/plugin/guest_handle.hpp"

namespace hyperhost::check {
namespace {

constexpr std::size_t kGuestBytes = 4u << 20;

/// A disk in memory that counts what is asked of it.
class WatchedDisk final : public BlockDevice {
 public:
  enum class Way { kGood, kReadsFail, kWritesFail, kReadsHang };
  WatchedDisk(Way way, bool writable) : way_(way), writable_(writable) {}

  uint64_t length() const override { return kGuestBytes; }
  bool writable() const override { return writable_; }
  void read_at(hyper::Op op, uint64_t offset, void* buffer, uint64_t length) override {
    check_range(offset, length, kGuestBytes);
    ++reads_;
    if (way_ == Way::kReadsFail) throw hyper::Error(HYPER_IO, "the disk cannot be read");
    if (way_ == Way::kReadsHang)
      for (;;) {
        op.check_cancelled();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    const std::lock_guard lock(mutex_);
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), length,
                static_cast<unsigned char*>(buffer));
  }
  void write_at(hyper::Op, uint64_t offset, const void* from, uint64_t length) override {
    begin_write(offset, length);
    const std::lock_guard lock(mutex_);
    std::copy_n(static_cast<const unsigned char*>(from), length,
                bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  void zero_at(hyper::Op, uint64_t offset, uint64_t length) override {
    begin_write(offset, length);
    const std::lock_guard lock(mutex_);
    std::fill_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), length, 0);
  }
  void flush(hyper::Op) override {}
  void extents(hyper::Op, uint64_t offset, uint64_t length, const OnExtent& on_extent) override {
    check_range(offset, length, kGuestBytes);
    hyper_extent extent{};
    extent.offset = offset;
    extent.length = length;
    on_extent(extent);
  }

  unsigned reads() const { return reads_; }
  unsigned writes() const { return writes_; }
  bool changed() const {
    const std::lock_guard lock(mutex_);
    return bytes_ != Bytes(kGuestBytes);
  }

 private:
  void begin_write(uint64_t offset, uint64_t length) {
    ++writes_;
    check_range(offset, length, kGuestBytes);
    if (!writable_) throw hyper::Error(HYPER_UNSUPPORTED, "the disk may only be read");
    if (way_ == Way::kWritesFail) throw hyper::Error(HYPER_NOSPACE, "the view of the disk is full");
  }

  const Way way_;
  const bool writable_;
  mutable std::mutex mutex_;
  Bytes bytes_ = Bytes(kGuestBytes);
  std::atomic<unsigned> reads_{0}, writes_{0};
};

nlohmann::json guest_request() {
  return {{"vm",
           {{"ref", "check"},
            {"name", "check"},
            {"disks", {{{"id", "disk-0"}, {"format", "raw"}, {"capacity_bytes", kGuestBytes}}}}}},
          {"machine",
           {{"arch", "x86_64"},
            {"machine", "pc"},
            {"firmware", "bios"},
            {"disks", {{{"id", "disk-0"}, {"bus", "virtio"}}}}}}};
}

enum class Deed { kInspect, kTraces, kPrepare };
const char* name_of(Deed deed) {
  return deed == Deed::kPrepare ? "prepare()" : "inspect()";
}

nlohmann::json call(Run& run, GuestHandle& guest, Deed deed,
                    const std::shared_ptr<WatchedDisk>& disk, Operation& op) {
  BlockTable block("disk-0", disk, op);
  run.at(name_of(deed));
  nlohmann::json request = guest_request();
  if (deed == Deed::kTraces) request["traces"] = true;
  return deed == Deed::kPrepare ? guest.prepare(op, request, {block.table()})
                                : guest.inspect(op, request, {block.table()});
}

/// The answer of a call; null if the plugin refuses the guest with a reason.
nlohmann::json answer_or_reason(Run& run, GuestHandle& guest, Deed deed,
                                const std::shared_ptr<WatchedDisk>& disk) {
  Operation op = operation(name_of(deed));
  try {
    return call(run, guest, deed, disk, op);
  } catch (const Error& error) {
    const std::string what = error.what();
    run.expect(what.find("gave no reason") == std::string::npos,
               std::string(name_of(deed)) + " fails without a report(): a user would not know why");
    if (what.find("gave a wrong document") != std::string::npos) run.stop(what);
    run.note(std::string(name_of(deed)) + " refuses a disk of zeros: " + what);
    return nullptr;
  }
}

void expect_failure(Run& run, GuestHandle& guest, Deed deed, WatchedDisk::Way way,
                    const char* what) {
  const auto disk = std::make_shared<WatchedDisk>(way, deed == Deed::kPrepare);
  Operation op = operation(name_of(deed));
  try {
    static_cast<void>(call(run, guest, deed, disk, op));
  } catch (const Error&) {
    return;
  }
  const bool met = way == WatchedDisk::Way::kWritesFail ? disk->writes() != 0 : disk->reads() != 0;
  run.expect(!met, std::string(name_of(deed)) + " of " + what + " succeeds and must fail");
}

}  // namespace

void case_guest(Run& run) {
  const auto guest = opened<GuestHandle>(run, HYPER_IFACE_GUEST, "look into guests");
  Operation op = operation("plan");
  run.at("plan()");
  const nlohmann::json plan = guest->plan(op, guest_request());
  const auto disk = std::make_shared<WatchedDisk>(WatchedDisk::Way::kGood, false);
  static_cast<void>(answer_or_reason(run, *guest, Deed::kInspect, disk));
  if (plan.contains("traces") && plan["traces"] == true) {
    const auto answer = answer_or_reason(run, *guest, Deed::kTraces, disk);
    run.expect(!answer.is_object() || (answer.contains("traces") && answer["traces"].is_object()),
               "plan() offers traces, and inspect() answers without \"traces\"");
  }
  run.expect(disk->writes() == 0, "inspect() writes to a disk, and may only read");
  expect_failure(run, *guest, Deed::kInspect, WatchedDisk::Way::kReadsFail,
                 "a disk that cannot be read");
}

void case_guest_prepare(Run& run) {
  const auto guest = opened<GuestHandle>(run, HYPER_IFACE_GUEST, "look into guests");
  if (run.plugin().guest()->prepare == nullptr) run.skip("it only inspects");
  const auto disk = std::make_shared<WatchedDisk>(WatchedDisk::Way::kGood, true);
  const nlohmann::json answer = answer_or_reason(run, *guest, Deed::kPrepare, disk);
  const auto lists = [&](const char* member) {
    const auto found = answer.find(member);
    return found != answer.end() && found->is_array() && !found->empty();
  };
  if (answer.is_object() && disk->changed())
    run.expect(lists("actions") || lists("files"),
               "prepare() changes a disk and lists neither actions nor files");
  expect_failure(run, *guest, Deed::kPrepare, WatchedDisk::Way::kReadsFail,
                 "a disk that cannot be read");
  expect_failure(run, *guest, Deed::kPrepare, WatchedDisk::Way::kWritesFail,
                 "a disk that takes no writes");
}

void case_guest_cancel(Run& run) {
  const auto guest = opened<GuestHandle>(run, HYPER_IFACE_GUEST, "look into guests");
  const auto cancel = CancelSource::create();
  Operation op = operation("cancelled", cancel);
  const auto disk = std::make_shared<WatchedDisk>(WatchedDisk::Way::kReadsHang, false);
  std::chrono::steady_clock::time_point cancelled_at{};
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    cancelled_at = std::chrono::steady_clock::now();
    cancel->cancel();
  });
  std::string wrong;
  try {
    static_cast<void>(call(run, *guest, Deed::kInspect, disk, op));
    if (disk->reads() != 0) wrong = "inspect() that is cancelled in a read succeeds and must fail";
  } catch (const Error& error) {
    if (error.code() != Code::kCancelled)
      wrong = std::string("inspect() fails otherwise when it is cancelled: ") + error.what();
  }
  canceller.join();
  run.expect(wrong.empty(), wrong);
  run.expect(std::chrono::steady_clock::now() - cancelled_at < std::chrono::seconds(2),
             "inspect() continues for more than 2 s after the cancel");
}

}  // namespace hyperhost::check
