// SPDX-License-Identifier: Apache-2.0
// Keys are files below a directory. An unfinished object is a file in .parts, and in the journal.
#pragma once

#include <algorithm>
#include <atomic>
#include <random>

#include "mutant.hpp"

namespace mutants {

inline std::string random_name() {
  std::random_device random;
  return std::to_string(random()) + std::to_string(random());
}

class Part final : public hyper::Sink {
 public:
  /// A new object, or the one that was kept under `name`.
  Part(hyper::Op op, const fs::path& root, const std::string& key, bool overwrite, bool durable,
       const std::string& kept, uint64_t length)
      : root_(root), key_(key), overwrite_(overwrite), durable_(durable) {
    static std::atomic<int> count{0};
    const bool by_pid = mutant("storage-kill-same-pid");
    name_ = !kept.empty() ? kept
            : by_pid      ? std::to_string(::getpid()) + "-" + std::to_string(++count)
                          : random_name();
    part_ = root / ".parts" / name_;
    if (!kept.empty() && !fs::exists(part_))
      throw hyper::Error(HYPER_NOTFOUND, "the unfinished object is gone");
    fs::create_directories(part_.parent_path());
    if (!mutant("storage-kill-no-journal") && hyper::Journal::kept(op))
      entry_ = hyper::Journal::open(op, hyper::DocBuilder()
                                            .set("/plugin", "mutant")
                                            .set("/kind", "part")
                                            .set("/where", root.string())
                                            .set("/ref", name_)
                                            .set("/key", key));
    fd_ = ::open(part_.c_str(), O_RDWR | O_CREAT | (kept.empty() ? O_EXCL : 0) | O_CLOEXEC, 0644);
    if (fd_ < 0) throw hyper::errno_error(errno, "create " + part_.string());
    if (!kept.empty() && !mutant("storage-resume-uncut"))
      static_cast<void>(::ftruncate(fd_, static_cast<off_t>(length)));
    if (overwrite_ && mutant("storage-overwrite-early")) ::unlink((root_ / key_).c_str());
    if (mutant("storage-temporary-file")) leave_temporary_file("upload");
  }
  ~Part() override { ::close(fd_); }

  hyper::SinkTraits traits() const override {
    hyper::SinkTraits traits;
    traits.flags = HYPER_SINK_RANDOM | HYPER_SINK_APPEND | HYPER_SINK_READBACK | HYPER_SINK_RESUME;
    traits.max_parallel = 8;
    return traits;
  }
  void write_at(hyper::Op op, uint64_t offset, const void* buf, uint64_t len) override {
    op.check_cancelled();
    if (mutant("storage-wrong-beyond-4-gib")) offset &= 0xFFFFFFFF;
    const bool racy = mutant("storage-racy-write");
    if (racy) {
      ::lseek(fd_, static_cast<off_t>(offset), SEEK_SET);
      std::this_thread::yield();  // as between two requests of a protocol
    }
    const ssize_t wrote =
        racy ? ::write(fd_, buf, len) : ::pwrite(fd_, buf, len, static_cast<off_t>(offset));
    if (wrote != static_cast<ssize_t>(len)) throw hyper::errno_error(errno, "write an object");
    uint64_t end = written_;
    while (end < offset + len && !written_.compare_exchange_weak(end, offset + len)) {
    }
  }
  void zero_at(hyper::Op op, uint64_t offset, uint64_t len) override {
    if (mutant("storage-zero-nothing")) return;
    if (mutant("storage-zero-rounds")) {
      const uint64_t end = (offset + len + 4095) / 4096 * 4096;
      offset = offset / 4096 * 4096;
      len = end - offset;
    }
    write_at(op, offset, std::vector<char>(len, 0).data(), len);
  }
  std::unique_ptr<hyper::Source> reopen(hyper::Op, uint64_t length) override {
    if (mutant("storage-leak-reopen")) forget_descriptor();
    if (!mutant("storage-reopen-as-written")) set_length(length);
    return std::make_unique<File>(part_);
  }
  std::string commit(hyper::Op op, uint64_t length) override {
    op.check_cancelled();
    const bool longer = length > written_;
    if (!(longer ? mutant("storage-commit-not-longer") : mutant("storage-commit-not-shorter")))
      set_length(length);
    const fs::path target = root_ / key_;
    fs::create_directories(target.parent_path());
    if (durable_ && !mutant("storage-ignores-durability") && ::fsync(fd_) != 0)
      throw hyper::errno_error(errno, "make an object durable");
    const bool replace = overwrite_ || mutant("storage-replace-at-commit");
    if ((replace ? ::rename(part_.c_str(), target.c_str())
                 : ::link(part_.c_str(), target.c_str())) != 0)
      throw hyper::errno_error(errno, "name " + target.string());
    settle(op);
    hyper::DocBuilder answer;
    answer.set("/location", target.string());
    answer.set("/bytes", mutant("storage-commit-bytes") ? written_ / 512 : length);
    if (mutant("storage-commit-checksum"))
      answer.set("/checksum", "sha256:" + std::string(64, 'a'));
    ::unlink(part_.c_str());
    return answer.json();
  }
  std::string keep(hyper::Op, bool on) override {
    kept_ = on || mutant("storage-keep-off-stays");
    return on ? hyper::DocBuilder().set("/name", name_).json() : std::string();
  }
  void close(hyper::Op op) override {
    if (kept_ && !mutant("storage-keep-lost")) return;
    if (!mutant("storage-part-stays")) ::unlink(part_.c_str());
    settle(op);
  }

 private:
  void set_length(uint64_t length) const {
    if (::ftruncate(fd_, static_cast<off_t>(length)) != 0)
      throw hyper::errno_error(errno, "set the length of an object");
  }
  void settle(hyper::Op op) {
    const uint64_t entry = std::exchange(entry_, 0);
    if (entry != 0 && !mutant("storage-entry-stays")) hyper::Journal::close(op, entry);
  }
  const fs::path root_;
  const std::string key_;
  const bool overwrite_, durable_;
  std::string name_;
  fs::path part_;
  int fd_ = -1;
  std::atomic<uint64_t> written_{0};
  uint64_t entry_ = 0;
  bool kept_ = false;
};

class Store final : public hyper::StorageConnection {
 public:
  static std::unique_ptr<Store> connect(const hyper::Doc& options, hyper::Op) {
    return std::make_unique<Store>(options.string("/path"));
  }
  explicit Store(fs::path root) : root_(std::move(root)) {}

  std::string info(hyper::Op) override {
    if (mutant("storage-info-makes")) fs::create_directories(root_);
    fs::path at = root_;
    std::error_code error;
    while (!fs::exists(at, error) && at.has_relative_path()) at = at.parent_path();
    if (!mutant("storage-info-anywhere") &&
        (!fs::is_directory(at) || ::access(at.c_str(), W_OK | X_OK) != 0))
      throw hyper::Error(HYPER_CONFIG, at.string() + " cannot be written to").at("/path");
    hyper::DocBuilder answer;
    answer.set("/location", root_.string());
    answer.set("/sink", {"random", "append", "readback", "resume"});
    if (mutant("storage-info-lies")) answer.append("/sink", "path");
    return answer.json();
  }
  std::unique_ptr<hyper::Sink> put(hyper::Op op, const hyper::Doc& request) override {
    const std::string key = request.need_string("/key");
    const bool overwrite = request.boolean("/overwrite");
    if (!overwrite && fs::exists(path_of(key)))
      throw hyper::Error(HYPER_EXISTS, "there is an object '" + key + "'");
    return std::make_unique<Part>(
        op, root_, key, overwrite, request.string("/durability") == "file",
        request.string("/resume/name"), static_cast<uint64_t>(request.integer("/resume_length")));
  }
  std::unique_ptr<hyper::Source> get(hyper::Op, const std::string& key) override {
    if (mutant("storage-leak-get")) forget_descriptor();
    if (!fs::is_regular_file(path_of(key)))
      throw hyper::Error(HYPER_NOTFOUND, "there is no object '" + key + "'");
    return std::make_unique<File>(path_of(key));
  }
  std::string stat(hyper::Op, const std::string& key) override {
    const fs::path path = path_of(key);
    return fs::is_regular_file(path) ? document(key, path) : std::string();
  }
  void list(hyper::Op, const std::string& prefix, const hyper::Emit& emit) override {
    if (mutant("storage-leak-list")) forget_descriptor();
    if (!fs::is_directory(root_)) return;
    for (auto it = fs::recursive_directory_iterator(root_); it != fs::end(it); ++it) {
      std::string key = it->path().lexically_relative(root_).generic_string();
      if (key == ".parts" && !mutant("storage-list-parts")) it.disable_recursion_pending();
      if (!it->is_regular_file()) continue;
      const bool below = key.rfind(prefix, 0) == 0 &&
                         (!mutant("storage-list-directories") || prefix.back() == '/' ||
                          key.size() == prefix.size() || key[prefix.size()] == '/');
      if (below || mutant("storage-list-all")) emit(document(key, it->path()));
    }
  }
  void remove(hyper::Op, const std::string& key) override {
    if (!fs::remove(path_of(key)) && !mutant("storage-remove-nothing"))
      throw hyper::Error(HYPER_NOTFOUND, "there is no object '" + key + "'");
  }
  void undo(hyper::Op, const hyper::Doc& entry) override {
    if (entry.string("/where") != root_.string()) throw hyper::Reported(HYPER_UNSUPPORTED);
    ::unlink((root_ / ".parts" / entry.string("/ref")).c_str());
    if (mutant("storage-undo-removes-object")) ::unlink((root_ / entry.string("/key")).c_str());
  }
  bool understands(const std::string&) override { return mutant("storage-understands-all"); }

 private:
  fs::path path_of(const std::string& key) const {
    for (std::size_t begin = 0; begin <= key.size();) {
      const std::size_t end = std::min(key.find('/', begin), key.size());
      const std::string part = key.substr(begin, end - begin);
      if (part.empty() || part == "." || part == ".." || (begin == 0 && part == ".parts") ||
          (mutant("storage-hidden-keys") && part[0] == '.'))
        throw hyper::Error(HYPER_CONFIG, "'" + key + "' is no key");
      begin = end + 1;
    }
    return root_ / key;
  }
  static std::string document(const std::string& key, const fs::path& path) {
    hyper::DocBuilder answer;
    answer.set("/key", key).set("/bytes", fs::file_size(path));
    if (!mutant("storage-stat-no-location")) answer.set("/location", path.string());
    return answer.json();
  }
  const fs::path root_;
};

}  // namespace mutants
