// SPDX-License-Identifier: Apache-2.0
// The storage "acme": where results go. As it stands, keys are files below a directory; put your
// store's API in the places that touch files. Its table is at the end.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <hyper/plugin.hpp>
#include <vector>

namespace {

namespace fs = std::filesystem;

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

/// An object being written, under a name of its own until commit() gives it the one it is to have.
class Sink final : public hyper::Sink {
 public:
  Sink(const fs::path& root, fs::path target, bool overwrite)
      : target_(std::move(target)), overwrite_(overwrite) {
    static std::atomic<uint64_t> count{0};
    const fs::path parts = root / ".parts";
    fs::create_directories(parts);
    part_ = parts / (std::to_string(::getpid()) + "-" + std::to_string(++count));
    fd_ = ::open(part_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd_ < 0) throw hyper::errno_error(errno, "create " + part_.string());
  }
  ~Sink() override {  // without a commit: nothing stays behind
    ::close(fd_);
    ::unlink(part_.c_str());
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
  std::unique_ptr<hyper::Source> reopen(hyper::Op, uint64_t length) override {
    set_length(length);
    return std::make_unique<File>(part_, length);
  }
  std::string commit(hyper::Op op, uint64_t length) override {
    op.check_cancelled();
    set_length(length);
    if (::fsync(fd_) != 0) throw hyper::errno_error(errno, "make an object durable");
    fs::create_directories(target_.parent_path());
    // link() fails where the name is taken, rename() replaces it: both at once or not at all.
    const int done = overwrite_ ? ::rename(part_.c_str(), target_.c_str())
                                : ::link(part_.c_str(), target_.c_str());
    if (done != 0) throw hyper::errno_error(errno, "name " + target_.string());
    return hyper::DocBuilder().set("/location", target_.string()).set("/bytes", length).json();
  }

 private:
  void set_length(uint64_t length) const {
    if (::ftruncate(fd_, static_cast<off_t>(length)) != 0)
      throw hyper::errno_error(errno, "set the length of an object");
  }
  const fs::path target_;
  const bool overwrite_;
  fs::path part_;
  int fd_ = -1;
};

class Store final : public hyper::StorageConnection {
 public:
  static std::unique_ptr<Store> connect(const hyper::Doc& options, hyper::Op) {
    return std::make_unique<Store>(options.string("/path"));
  }
  explicit Store(fs::path root) : root_(std::move(root)) {}

  std::string info(hyper::Op) override {
    std::error_code error;
    const fs::space_info space = fs::space(root_, error);
    hyper::DocBuilder answer;
    answer.set("/location", root_.string()).set("/sink", {"random", "append", "readback"});
    if (!error) answer.set("/free_bytes", space.available);
    return answer.json();
  }
  std::unique_ptr<hyper::Sink> put(hyper::Op, const hyper::Doc& request) override {
    const std::string key = request.need_string("/key");
    const bool overwrite = request.boolean("/overwrite");
    if (!overwrite && fs::exists(path_of(key)))
      throw hyper::Error(HYPER_EXISTS, "there is an object '" + key + "'");
    return std::make_unique<Sink>(root_, path_of(key), overwrite);
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
      if (key == ".parts") it.disable_recursion_pending();
      if (it->is_regular_file() && key.rfind(prefix, 0) == 0) emit(document(key, it->path()));
    }
  }
  void remove(hyper::Op, const std::string& key) override {
    if (!fs::remove(path_of(key)))
      throw hyper::Error(HYPER_NOTFOUND, "there is no object '" + key + "'");
  }

 private:
  /// Keys come from outside: none leads out of the directory.
  fs::path path_of(const std::string& key) const {
    std::size_t begin = 0;
    while (begin <= key.size()) {
      const std::size_t end = std::min(key.find('/', begin), key.size());
      const std::string part = key.substr(begin, end - begin);
      if (part.empty() || part[0] == '.')
        throw hyper::Error(HYPER_CONFIG, "'" + key + "' is no key: it has empty or hidden parts");
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
