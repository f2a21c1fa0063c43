// SPDX-License-Identifier: Apache-2.0
// The storage "acme": where results go. As it stands, keys are files below a directory; put your
// store's API in the places that touch files. Its table is at the end.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <hyper/plugin.hpp>
#include <random>
#include <vector>

namespace {

namespace fs = std::filesystem;

constexpr const char* kParts = ".parts";  // below the root: files without their names yet
constexpr const char* kEntryKind = "unfinished object";

/// Makes a directory's names durable.
void sync_directory(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool done = fd >= 0 && ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!done) throw hyper::errno_error(error, "make durable " + path.string());
}

void make_directories(const fs::path& path, bool durable) {
  if (path.empty() || fs::is_directory(path)) return;
  make_directories(path.parent_path(), durable);
  fs::create_directory(path);  // another thread may have made it
  if (durable) sync_directory(path.parent_path());
}

/// A name that no other process makes. A process id is none: in a container it is the same each
/// time.
std::string random_name() {
  std::random_device random;
  std::string out;
  for (int i = 0; i < 32; ++i) out += "0123456789abcdef"[random() % 16];
  return out;
}

/// A file: what get() and reopen() read.
class File final : public hyper::Source {
 public:
  File(const fs::path& path, uint64_t length)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), length_(length) {
    if (fd_ < 0) throw hyper::errno_error(errno, "read " + path.string());
  }
  ~File() override { ::close(fd_); }
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK;
    traits.length = length_;
    traits.max_parallel = 8;
    return traits;
  }
  void read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) override {
    for (auto* out = static_cast<char*>(buf); len > 0;) {
      op.check_cancelled();
      const ssize_t got = ::pread(fd_, out, len, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw hyper::errno_error(errno, "read an object");
      if (got == 0) throw hyper::Error(HYPER_CORRUPT, "the object became shorter");
      out += got;
      offset += static_cast<uint64_t>(got);
      len -= static_cast<uint64_t>(got);
    }
  }

 private:
  int fd_;
  uint64_t length_;
};

/// How put() is to write an object.
struct Wanted {
  std::string key;
  bool overwrite = false;
  bool durable = false;  ///< after commit() it survives a power cut
};

/// An object being written, under a name of its own until commit() gives it the one it is to have.
/// While it is there a journal entry names it: what a killed process leaves is found by undo().
class Sink final : public hyper::Sink {
 public:
  Sink(hyper::Op op, fs::path root, Wanted wanted)
      : root_(std::move(root)), wanted_(std::move(wanted)), name_(random_name()) {
    make_directories(part().parent_path(), wanted_.durable);
    if (hyper::Journal::kept(op))  // before there is anything to undo
      entry_ = hyper::Journal::open(op, hyper::DocBuilder()
                                            .set("/plugin", "acme")
                                            .set("/kind", kEntryKind)
                                            .set("/where", root_.string())
                                            .set("/ref", name_));
    fd_ = ::open(part().c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ >= 0) return;
    const int error = errno;
    settle(op);
    throw hyper::errno_error(error, "create " + part().string());
  }
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;
  ~Sink() override {
    if (fd_ >= 0) ::close(fd_);
  }
  void close(hyper::Op op) override {
    ::unlink(part().c_str());  // without a commit: nothing stays behind
    settle(op);
  }

  hyper::SinkTraits traits() const override {
    hyper::SinkTraits traits;
    traits.flags = HYPER_SINK_RANDOM | HYPER_SINK_APPEND | HYPER_SINK_READBACK;
    traits.max_parallel = 8;
    return traits;
  }
  void write_at(hyper::Op op, uint64_t offset, const void* buf, uint64_t len) override {
    for (auto* from = static_cast<const char*>(buf); len > 0;) {
      op.check_cancelled();
      const ssize_t wrote = ::pwrite(fd_, from, len, static_cast<off_t>(offset));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) throw hyper::errno_error(errno, "write an object");
      from += wrote;
      offset += static_cast<uint64_t>(wrote);
      len -= static_cast<uint64_t>(wrote);
    }
  }
  void zero_at(hyper::Op op, uint64_t offset, uint64_t len) override {
    const std::vector<char> zeros(std::min<uint64_t>(len, 1 << 20), 0);
    for (uint64_t done = 0; done < len; done += std::min<uint64_t>(zeros.size(), len - done))
      write_at(op, offset + done, zeros.data(), std::min<uint64_t>(zeros.size(), len - done));
  }
  void sync(hyper::Op) override {
    if (::fsync(fd_) != 0) throw hyper::errno_error(errno, "make an object durable");
  }
  std::unique_ptr<hyper::Source> reopen(hyper::Op, uint64_t length) override {
    set_length(length);
    return std::make_unique<File>(part(), length);
  }
  std::string commit(hyper::Op op, uint64_t length) override {
    op.check_cancelled();
    set_length(length);
    if (wanted_.durable) sync(op);
    const fs::path target = root_ / wanted_.key;
    make_directories(target.parent_path(), wanted_.durable);
    // link() fails where the name is taken, rename() replaces it: both at once or not at all.
    const int done = wanted_.overwrite ? ::rename(part().c_str(), target.c_str())
                                       : ::link(part().c_str(), target.c_str());
    if (done != 0) throw hyper::errno_error(errno, "name " + target.string());
    ::unlink(part().c_str());
    if (wanted_.durable) sync_directory(target.parent_path());
    settle(op);
    return hyper::DocBuilder().set("/location", target.string()).set("/bytes", length).json();
  }

 private:
  fs::path part() const { return root_ / kParts / name_; }
  void set_length(uint64_t length) const {
    if (::ftruncate(fd_, static_cast<off_t>(length)) != 0)
      throw hyper::errno_error(errno, "set the length of an object");
  }
  /// There is nothing left to undo.
  void settle(hyper::Op op) {
    if (const uint64_t entry = std::exchange(entry_, 0)) hyper::Journal::close(op, entry);
  }
  const fs::path root_;
  const Wanted wanted_;
  const std::string name_;
  int fd_ = -1;
  uint64_t entry_ = 0;  // of the journal; 0 = none
};

class Store final : public hyper::StorageConnection {
 public:
  static std::unique_ptr<Store> connect(const hyper::Doc& options, hyper::Op) {
    return std::make_unique<Store>(options.string("/path"));
  }
  explicit Store(fs::path root) : root_(std::move(root)) {}

  /// Makes nothing; fails where put() would.
  std::string info(hyper::Op) override {
    fs::path place = root_;  // or what there is of it
    std::error_code error;
    while (!fs::exists(place, error) && place.has_relative_path()) place = place.parent_path();
    if (!fs::is_directory(place))
      throw hyper::Error(HYPER_CONFIG, place.string() + " is no directory").at("/path");
    if (::access(place.c_str(), W_OK | X_OK) != 0)
      throw hyper::errno_error(errno, "write to " + place.string())
          .at("/path")
          .hint("change its permissions or choose another directory");
    const fs::space_info space = fs::space(place, error);
    hyper::DocBuilder answer;
    answer.set("/location", root_.string()).set("/sink", {"random", "append", "readback"});
    if (!error) answer.set("/free_bytes", space.available);
    return answer.json();
  }
  std::unique_ptr<hyper::Sink> put(hyper::Op op, const hyper::Doc& request) override {
    Wanted wanted{request.need_string("/key"), request.boolean("/overwrite"),
                  request.string("/durability") == "file"};
    if (fs::exists(path_of(wanted.key)) && !wanted.overwrite)
      throw hyper::Error(HYPER_EXISTS, "there is an object '" + wanted.key + "'");
    return std::make_unique<Sink>(op, root_, std::move(wanted));
  }
  std::unique_ptr<hyper::Source> get(hyper::Op, const std::string& key) override {
    const fs::path path = path_of(key);
    if (!fs::is_regular_file(path))
      throw hyper::Error(HYPER_NOTFOUND, "there is no object '" + key + "'");
    return std::make_unique<File>(path, fs::file_size(path));
  }
  std::string stat(hyper::Op, const std::string& key) override {
    const fs::path path = path_of(key);
    return fs::is_regular_file(path) ? document(key, path) : std::string();
  }
  void list(hyper::Op op, const std::string& prefix, const hyper::Emit& emit) override {
    if (!fs::is_directory(root_)) return;
    for (auto it = fs::recursive_directory_iterator(root_); it != fs::end(it); ++it) {
      op.check_cancelled();
      const std::string key = it->path().lexically_relative(root_).generic_string();
      if (key == kParts) it.disable_recursion_pending();
      if (it->is_regular_file() && key.rfind(prefix, 0) == 0) emit(document(key, it->path()));
    }
  }
  void remove(hyper::Op, const std::string& key) override {
    if (!fs::remove(path_of(key)))
      throw hyper::Error(HYPER_NOTFOUND, "there is no object '" + key + "'");
  }
  /// Removes what a Sink's journal entry names. The host closes the entry then.
  void undo(hyper::Op, const hyper::Doc& entry) override {
    if (entry.string("/kind") != kEntryKind || entry.string("/where") != root_.string())
      throw hyper::Reported(HYPER_UNSUPPORTED);  // of another place: the entry stays
    const std::string name = entry.string("/ref");
    if (name.empty() || name.find('/') != std::string::npos || name[0] == '.')
      throw hyper::Error(HYPER_CORRUPT, "the journal entry names no unfinished object");
    fs::remove(root_ / kParts / name);  // gone already is as good
  }

 private:
  /// Keys come from outside: none leads out of the directory.
  fs::path path_of(const std::string& key) const {
    std::size_t begin = 0;
    while (begin <= key.size()) {
      const std::size_t end = std::min(key.find('/', begin), key.size());
      const std::string part = key.substr(begin, end - begin);
      if (part.empty() || part == "." || part == ".." || (begin == 0 && part == kParts))
        throw hyper::Error(HYPER_CONFIG, "'" + key + "' is no key: a part is empty or reserved");
      begin = end + 1;
    }
    return root_ / key;
  }
  static std::string document(const std::string& key, const fs::path& path) {
    return hyper::DocBuilder()
        .set("/key", key)
        .set("/bytes", fs::file_size(path))
        .set("/location", path.string())
        .json();
  }
  const fs::path root_;
};

struct Acme {
  using Interfaces = hyper::Interfaces<hyper::Storage<Store>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace

HYPER_PLUGIN(Acme)
