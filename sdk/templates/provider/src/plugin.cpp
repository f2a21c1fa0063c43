// SPDX-License-Identifier: Apache-2.0
// The provider "acme": where VMs come from. As it stands, each file NAME.raw of a directory is a VM
// with one disk; put your product's API in the places that touch files. Its table is at the end.
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <hyper/plugin.hpp>
#include <vector>

namespace {

namespace fs = std::filesystem;

/// A disk being read. Offers what traits() says; read_at may be called by several threads.
class Disk final : public hyper::Source {
 public:
  explicit Disk(const fs::path& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    struct stat status {};
    if (fd_ < 0 || ::fstat(fd_, &status) != 0) {
      const int error = errno;
      if (fd_ >= 0) ::close(fd_);
      throw hyper::errno_error(error, "read " + path.string());
    }
    length_ = static_cast<uint64_t>(status.st_size);
  }
  ~Disk() override { ::close(fd_); }

  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK;
    traits.length = length_;
    traits.format = "raw";
    traits.max_parallel = 8;
    return traits;
  }

  void read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) override {
    for (auto* out = static_cast<char*>(buf); len > 0;) {
      op.check_cancelled();
      const ssize_t got = ::pread(fd_, out, len, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw hyper::errno_error(errno, "read the disk").retryable();
      if (got == 0) throw hyper::Error(HYPER_CORRUPT, "the disk became shorter while it was read");
      out += got;
      offset += static_cast<uint64_t>(got);
      len -= static_cast<uint64_t>(got);
    }
  }

 private:
  int fd_;
  uint64_t length_ = 0;
};

/// A VM held ready to be read. What opening it changed outside (a snapshot), close() undoes.
class Vm final : public hyper::ProviderVm {
 public:
  explicit Vm(fs::path disk) : disk_(std::move(disk)) {}
  std::unique_ptr<hyper::Source> open_disk(hyper::Op, const std::string& id, uint32_t) override {
    if (id != "disk-0") throw hyper::Error(HYPER_NOTFOUND, "there is no disk '" + id + "'");
    return std::make_unique<Disk>(disk_);
  }

 private:
  const fs::path disk_;
};

/// A connection: made by connect(), ended by the destructor. What needs the network to end (a
/// session) ends in disconnect(Op), which has a log and a time limit. Its calls may come from any
/// thread.
class Connection final : public hyper::ProviderConnection {
 public:
  static std::unique_ptr<Connection> connect(const hyper::Doc& options, hyper::Op) {
    const fs::path path = options.string("/path");  // the host has checked it against the schema
    if (!fs::is_directory(path))
      throw hyper::Error(HYPER_NOTFOUND, path.string() + " is no directory").at("/path");
    return std::make_unique<Connection>(path);
  }
  explicit Connection(fs::path path) : path_(std::move(path)) {}

  void list_vms(hyper::Op op, const char* pattern, const hyper::Emit& emit) override {
    for (const auto& entry : fs::directory_iterator(path_)) {
      op.check_cancelled();
      const std::string name = entry.path().stem().string();
      if (entry.path().extension() != ".raw" || !entry.is_regular_file()) continue;
      if (pattern != nullptr && ::fnmatch(pattern, name.c_str(), 0) != 0) continue;
      emit(hyper::DocBuilder()
               .set("/ref", name)
               .set("/name", name)
               .set("/disks", 1)
               .set("/bytes", entry.file_size()));
    }
  }

  std::string describe_vm(hyper::Op, const std::string& vm) override {
    const fs::path file = disk_of(vm);
    const uint64_t size = fs::file_size(file);
    hyper::DocBuilder disk;
    disk.set("/id", "disk-0").set("/format", "raw").set("/access", {"seek"});
    disk.set("/capacity_bytes", size).set("/bytes", size).set("/content_id", content_id(file));
    return hyper::DocBuilder().set("/ref", vm).set("/name", vm).append("/disks", disk).json();
  }

  std::unique_ptr<hyper::ProviderVm> open_vm(hyper::Op, const hyper::Doc& request) override {
    const fs::path file = disk_of(request.need_string("/vm"));
    // What an interrupted run has of the disk is of no use once its content is another.
    const std::string now = content_id(file);
    if (request.string("/content_ids/disk-0", now) != now)
      throw hyper::Error(HYPER_BUSY, file.string() + " was changed since it was described")
          .retryable();
    return std::make_unique<Vm>(file);
  }

 private:
  /// Another text whenever a byte of the disk may have changed. The time of the last change of the
  /// file's status belongs to it: programs set back the time of its content (`cp -p`).
  static std::string content_id(const fs::path& file) {
    struct stat status {};
    if (::stat(file.c_str(), &status) != 0)
      throw hyper::errno_error(errno, "look at " + file.string());
    std::string id = std::to_string(status.st_dev) + " " + std::to_string(status.st_ino) + " " +
                     std::to_string(status.st_size);
    for (const timespec& time : {status.st_mtim, status.st_ctim})
      id += " " + std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec);
    return id;
  }
  fs::path disk_of(const std::string& vm) const {
    const fs::path file = path_ / (vm + ".raw");
    // A name is one part of a path: nothing outside the directory is ever opened.
    if (vm.empty() || vm.find('/') != std::string::npos || !fs::is_regular_file(file))
      throw hyper::Error(HYPER_NOTFOUND, "there is no VM '" + vm + "'")
          .hint("`hyperhost list` shows what there is");
    return file;
  }

  const fs::path path_;
};

struct Acme {
  using Interfaces = hyper::Interfaces<hyper::Provider<Connection>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace

HYPER_PLUGIN(Acme)
