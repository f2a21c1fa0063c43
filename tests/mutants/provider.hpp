// SPDX-License-Identifier: Apache-2.0
// Each NAME.raw of a directory is a VM. While it is open there is a lock beside it, NAME.lock,
// which stands for a snapshot: it is in the journal.
#pragma once

#include <fnmatch.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

#include "mutant.hpp"

namespace mutants {

class Disk final : public File {
 public:
  Disk(const fs::path& path, uint32_t flags, int shared_fd)
      : File(path), stream_((flags & HYPER_OPEN_STREAM) != 0), shared_fd_(shared_fd) {
    if (mutant("provider-touches-source")) {
      const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
      ::futimens(fd, nullptr);
      ::close(fd);
    }
  }
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits = File::traits();
    traits.format = "raw";
    if (stream_) {
      traits.flags = mutant("provider-access-stream") ? HYPER_SOURCE_SEEK : HYPER_SOURCE_STREAM;
      if (traits.flags == HYPER_SOURCE_STREAM) traits.length = HYPER_LENGTH_UNKNOWN;
      return traits;
    }
    traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS | HYPER_SOURCE_FILE;
    if (mutant("provider-access-file")) traits.flags &= ~HYPER_SOURCE_FILE;
    if (mutant("provider-racy-descriptor")) traits.max_parallel = 1;
    return traits;
  }
  void read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) override {
    const uint64_t at = mutant("provider-wrong-beyond-4-gib")   ? offset & 0xFFFFFFFF
                        : mutant("provider-wrong-beyond-2-gib") ? offset & 0x7FFFFFFF
                                                                : offset;
    if (mutant("provider-racy-buffer")) {
      static std::vector<char> buffer(4u << 20);
      read_all(fd_, op, at, buffer.data(), len, false);
      std::memcpy(buf, buffer.data(), len);
      return;
    }
    const bool racy = mutant("provider-racy-descriptor");
    read_all(racy ? shared_fd_ : fd_, op, at, buf, len, racy);
    const uint64_t whole = length_ / 4096 * 4096;
    if (mutant("provider-zero-end") && offset + len > whole) {
      const uint64_t from = std::max(offset, whole);
      std::memset(static_cast<char*>(buf) + (from - offset), 0, offset + len - from);
    }
  }
  std::pair<const void*, uint64_t> next(hyper::Op op) override {
    const uint64_t length =
        mutant("provider-stream-short") ? length_ - std::min<uint64_t>(length_, 4096) : length_;
    const uint64_t len = std::min<uint64_t>(1u << 20, length - std::min(at_, length));
    span_.resize(len);
    const bool shift = mutant("provider-stream-differs-late") && at_ > (32u << 20);
    read_all(fd_, op, shift ? at_ - 512 : at_, span_.data(), len, false);
    at_ += len;
    return {span_.data(), len};
  }
  void extents(hyper::Op, uint64_t offset, uint64_t len, const hyper::EmitExtent& emit) override {
    for (const uint64_t end = offset + len; offset < end;) {
      const off_t data = ::lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
      const uint64_t from = data < 0 ? end : std::min(end, static_cast<uint64_t>(data));
      if (from > offset) emit(offset, from - offset, HYPER_EXTENT_ZERO | HYPER_EXTENT_HOLE);
      if (from == end) return;
      const off_t hole = ::lseek(fd_, static_cast<off_t>(from), SEEK_HOLE);
      const uint64_t to = hole < 0 ? end : std::min(end, static_cast<uint64_t>(hole));
      const bool lie = (mutant("provider-zero-claim") && from > (24u << 20)) ||
                       (mutant("provider-zero-claim-end") && to == length_);
      emit(from, to - from, lie ? HYPER_EXTENT_ZERO : 0u);
      offset = to;
    }
  }
  hyper::FileRange locate(hyper::Op) override {
    return {path_.string(), mutant("provider-locate-offset") ? 512u : 0u, length_};
  }
  std::string finish(hyper::Op) override {
    if (!stream_) return {};
    hyper::DocBuilder answer;
    answer.set("/bytes", mutant("provider-finish-bytes") ? at_ / 512 : at_);
    if (mutant("provider-finish-checksum"))
      answer.set("/checksum", "sha256:" + std::string(64, '0'));
    return answer.json();
  }

 private:
  const bool stream_;
  const int shared_fd_;
  uint64_t at_ = 0;
  std::vector<char> span_;
};

class Vm final : public hyper::ProviderVm {
 public:
  Vm(hyper::Op op, const fs::path& directory, const std::string& name)
      : disk_(directory / (name + ".raw")),
        lock_(directory / (name + ".lock")),
        shared_fd_(::open(disk_.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (mutant("provider-temporary-file")) leave_temporary_file("disk-cache");
    if (!mutant("provider-no-journal") && hyper::Journal::kept(op))
      entry_ = hyper::Journal::open(op, hyper::DocBuilder()
                                            .set("/plugin", "mutant")
                                            .set("/kind", "lock")
                                            .set("/where", directory.string())
                                            .set("/ref", lock_.filename().string()));
    ::close(::open(lock_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  }
  ~Vm() override { ::close(shared_fd_); }
  std::unique_ptr<hyper::Source> open_disk(hyper::Op, const std::string& id,
                                           uint32_t flags) override {
    if (id != "disk-0") throw hyper::Error(HYPER_NOTFOUND, "there is no disk '" + id + "'");
    return std::make_unique<Disk>(disk_, flags, shared_fd_);
  }
  void close(hyper::Op op, hyper_st) override {
    if (!mutant("provider-lock-stays")) ::unlink(lock_.c_str());
    if (entry_ != 0 && !mutant("provider-entry-stays")) hyper::Journal::close(op, entry_);
  }

 private:
  const fs::path disk_, lock_;
  const int shared_fd_;
  uint64_t entry_ = 0;
};

class Connection final : public hyper::ProviderConnection {
 public:
  static std::unique_ptr<Connection> connect(const hyper::Doc& options, hyper::Op) {
    return std::make_unique<Connection>(options.string("/path"));
  }
  explicit Connection(fs::path path) : path_(std::move(path)) {}

  void list_vms(hyper::Op, const char* pattern, const hyper::Emit& emit) override {
    if (mutant("provider-leak-list")) forget_descriptor();
    for (const auto& entry : fs::directory_iterator(path_)) {
      const std::string name = entry.path().stem().string();
      if (entry.path().extension() != ".raw") continue;
      if (pattern != nullptr && ::fnmatch(pattern, name.c_str(), 0) != 0) continue;
      emit(hyper::DocBuilder()
               .set("/ref", name)
               .set("/name", name)
               .set("/power_state", mutant("provider-power-state") ? "poweredOn" : "off")
               .set("/disks", mutant("provider-disk-count") ? 2 : 1));
    }
  }
  std::string describe_vm(hyper::Op, const std::string& vm) override {
    if (mutant("provider-leak-describe")) forget(400);
    struct stat info = disk_of(vm);
    auto size = static_cast<uint64_t>(info.st_size);
    hyper::DocBuilder disk;
    disk.set("/id", "disk-0").set("/format", "raw").set("/access", {"seek", "stream", "file"});
    disk.set("/content_id", content_id(info));
    if (mutant("provider-boot-order")) disk.set("/boot_order", "first");
    disk.set("/bytes", mutant("provider-bytes") ? static_cast<uint64_t>(info.st_blocks) : size);
    if (mutant("provider-capacity-rounded")) size = (size / (1u << 20) + 1) << 20;
    disk.set("/capacity_bytes", size);
    return hyper::DocBuilder()
        .set("/ref", vm)
        .set("/name", mutant("provider-other-name") ? vm + ".raw" : vm)
        .append("/disks", disk)
        .json();
  }
  std::unique_ptr<hyper::ProviderVm> open_vm(hyper::Op op, const hyper::Doc& request) override {
    const std::string vm = request.need_string("/vm");
    const std::string now = content_id(disk_of(vm));
    const std::string then = request.string("/content_ids/disk-0", now);
    if (then != now && !mutant("provider-content-ids-ignored"))
      throw hyper::Error(HYPER_BUSY, "the disk was changed since it was described").retryable();
    return std::make_unique<Vm>(op, path_, vm);
  }
  void undo(hyper::Op, const hyper::Doc& entry) override {
    if (mutant("provider-undo-refuses") || entry.string("/where") != path_.string())
      throw hyper::Reported(HYPER_UNSUPPORTED);
    if (!mutant("provider-undo-lies")) ::unlink((path_ / entry.string("/ref")).c_str());
  }
  bool understands(const std::string&) override { return mutant("provider-understands-all"); }

 private:
  struct stat disk_of(const std::string& vm) const {
    struct stat info {};
    if (vm.empty() || vm.find('/') != std::string::npos ||
        ::stat((path_ / (vm + ".raw")).c_str(), &info) != 0)
      throw hyper::Error(HYPER_NOTFOUND, "there is no VM '" + vm + "'");
    return info;
  }
  static std::string content_id(const struct stat& info) {
    static std::atomic<int> count{0};
    const auto time = [](const timespec& of) {
      return std::to_string(of.tv_sec) + "." + std::to_string(of.tv_nsec);
    };
    std::string id =
        std::to_string(info.st_ino) + "/" + std::to_string(info.st_size) + "/" + time(info.st_mtim);
    if (!mutant("provider-content-id-mtime")) id += "/" + time(info.st_ctim);
    if (mutant("provider-content-id-unstable")) id += "/" + std::to_string(++count);
    return id;
  }
  const fs::path path_;
};

}  // namespace mutants
