// SPDX-License-Identifier: Apache-2.0
// The target "acme": where VMs run at the end. As it stands, the platform is a directory; put your
// platform's API in the places that touch files. Its table is at the end.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <hyper/draft/target.hpp>
#include <hyper/plugin.hpp>
#include <sstream>

namespace {

namespace fs = std::filesystem;

constexpr const char* kEntryKind = "unfinished disk";

/// Names come from outside: none leads out of the directory.
std::string file_name(std::string name) {
  for (char& c : name)
    if (c == '/' || c == '\0') c = '_';
  return name.empty() || name[0] == '.' ? "_" + name : name;
}

/// A file: what get_disk() reads back.
class File final : public hyper::Source {
 public:
  explicit File(const fs::path& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) throw hyper::errno_error(errno, "read " + path.string());
    length_ = fs::file_size(path);
  }
  ~File() override { ::close(fd_); }
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK;
    traits.length = length_;
    return traits;
  }
  void read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) override {
    for (auto* out = static_cast<char*>(buf); len > 0;) {
      op.check_cancelled();
      const ssize_t got = ::pread(fd_, out, len, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw hyper::errno_error(errno, "read a disk");
      if (got == 0) throw hyper::Error(HYPER_CORRUPT, "the disk became shorter");
      out += got;
      offset += static_cast<uint64_t>(got);
      len -= static_cast<uint64_t>(got);
    }
  }

 private:
  int fd_;
  uint64_t length_ = 0;
};

/// A disk on its way. While it is there a journal entry names it: what a killed process leaves is
/// found by undo().
class Disk final : public hyper::Sink {
 public:
  Disk(hyper::Op op, const fs::path& platform, fs::path target, const std::string& mark)
      : target_(std::move(target)), part_(target_.string() + ".part") {
    fs::create_directories(target_.parent_path());
    if (hyper::Journal::kept(op))  // before there is anything to undo
      entry_ = hyper::Journal::open(op, hyper::DocBuilder()
                                            .set("/plugin", "acme")
                                            .set("/kind", kEntryKind)
                                            .set("/where", platform.string())
                                            .set("/ref", part_.filename().string())
                                            .set("/mark", mark));
    ::unlink(part_.c_str());  // of an earlier try
    fd_ = ::open(part_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ >= 0) return;
    const int error = errno;
    settle(op);
    throw hyper::errno_error(error, "create " + part_.string());
  }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  ~Disk() override {
    if (fd_ >= 0) ::close(fd_);
  }
  void close(hyper::Op op) override {
    if (entry_ != 0) ::unlink(part_.c_str());  // without a commit: nothing stays behind
    settle(op);
  }
  hyper::SinkTraits traits() const override {
    hyper::SinkTraits traits;
    traits.flags = HYPER_SINK_APPEND;
    return traits;
  }
  void write_at(hyper::Op op, uint64_t offset, const void* buf, uint64_t len) override {
    for (auto* from = static_cast<const char*>(buf); len > 0;) {
      op.check_cancelled();
      const ssize_t wrote = ::pwrite(fd_, from, len, static_cast<off_t>(offset));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) throw hyper::errno_error(errno, "write a disk");
      from += wrote;
      offset += static_cast<uint64_t>(wrote);
      len -= static_cast<uint64_t>(wrote);
    }
  }
  std::string commit(hyper::Op op, uint64_t length) override {
    op.check_cancelled();
    if (::ftruncate(fd_, static_cast<off_t>(length)) != 0 || ::fsync(fd_) != 0)
      throw hyper::errno_error(errno, "finish a disk");
    fs::rename(part_, target_);
    settle(op);
    // The location is the disk's ref.
    return hyper::DocBuilder()
        .set("/location", target_.filename().string())
        .set("/bytes", length)
        .json();
  }

 private:
  /// There is nothing left to undo.
  void settle(hyper::Op op) {
    if (const uint64_t entry = std::exchange(entry_, 0)) hyper::Journal::close(op, entry);
  }
  const fs::path target_, part_;
  int fd_ = -1;
  uint64_t entry_ = 0;  // of the journal; 0 = none
};

class Platform final : public hyper::TargetConnection {
 public:
  static std::unique_ptr<Platform> connect(const hyper::Doc& options, hyper::Op) {
    return std::make_unique<Platform>(options.string("/path"));
  }
  explicit Platform(fs::path root) : root_(std::move(root)) {}

  std::string info(hyper::Op) override {
    hyper::DocBuilder answer;
    answer.set("/location", root_.string()).set("/disks", {"put"});
    answer.set("/can", {"readback", "state", "remove"});
    return answer.json();
  }
  std::string plan(hyper::Op, const hyper::Doc& request) override {
    hyper::DocBuilder answer;
    answer.array("/findings");
    if (taken(request))
      answer.append("/findings", hyper::DocBuilder()
                                     .set("/rule", "target.name")
                                     .set("/severity", "error")
                                     .set("/summary", "another machine has the name '" +
                                                          request.string("/name") + "'"));
    return answer.json();
  }
  std::unique_ptr<hyper::Sink> put_disk(hyper::Op op, const hyper::Doc& request) override {
    const std::string mark = request.need_string("/mark");
    // With the mark in its name, a disk of that name is from an earlier try: it is replaced.
    const std::string name = mark + "-" + file_name(request.need_string("/disk"));
    return std::make_unique<Disk>(op, root_, root_ / "disks" / name, mark);
  }
  std::unique_ptr<hyper::Source> get_disk(hyper::Op, const std::string& ref) override {
    const fs::path path = root_ / "disks" / file_name(ref);
    if (!fs::is_regular_file(path))
      throw hyper::Error(HYPER_NOTFOUND, "there is no disk '" + ref + "'");
    return std::make_unique<File>(path);
  }
  std::string define(hyper::Op op, const hyper::Doc& request) override {
    op.check_cancelled();
    const std::string name = request.need_string("/name");
    if (taken(request)) throw hyper::Error(HYPER_EXISTS, "there is a machine '" + name + "'");
    fs::create_directories(root_);
    // The name appears with all of the machine: a killed process leaves nothing half made.
    const fs::path path = machine(name),
                   part = root_ / ("." + request.need_string("/mark") + ".part");
    std::ofstream out(part);
    out << request.json() << std::flush;
    if (!out) throw hyper::Error(HYPER_IO, "cannot write " + part.string());
    fs::rename(part, path);
    return hyper::DocBuilder()
        .set("/ref", name)
        .set("/name", name)
        .set("/location", path.string())
        .json();
  }
  std::string state(hyper::Op, const std::string& ref) override {
    if (!fs::exists(machine(ref)))
      throw hyper::Error(HYPER_NOTFOUND, "there is no machine '" + ref + "'");
    return hyper::DocBuilder().set("/power", "off").json();
  }
  void remove(hyper::Op, const hyper::Doc& request) override {
    const std::string ref = request.need_string("/ref");
    fs::remove(request.string("/kind") == "disk" ? root_ / "disks" / file_name(ref) : machine(ref));
  }
  /// Removes what a Disk's journal entry names. The host closes the entry then.
  void undo(hyper::Op, const hyper::Doc& entry) override {
    if (entry.string("/kind") != kEntryKind || entry.string("/where") != root_.string())
      throw hyper::Reported(HYPER_UNSUPPORTED);  // of another place: the entry stays
    fs::remove(root_ / "disks" / file_name(entry.string("/ref")));  // gone already is as good
  }

 private:
  fs::path machine(const std::string& name) const { return root_ / (file_name(name) + ".json"); }
  /// Whether another migration has made a machine of that name.
  bool taken(const hyper::Doc& request) const {
    std::ifstream in(machine(request.need_string("/name")));
    if (!in) return false;
    std::stringstream text;
    text << in.rdbuf();
    const hyper::DocBuilder there = hyper::DocBuilder::parse(text.str());
    return there.doc().string("/mark") != request.need_string("/mark");
  }
  const fs::path root_;
};

struct Acme {
  using Interfaces = hyper::Interfaces<hyper::Target<Platform>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace

HYPER_PLUGIN(Acme)
