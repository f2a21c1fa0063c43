// SPDX-License-Identifier: Apache-2.0
// A file being written: under a temporary name in its final directory until commit() gives it its
// own, or the destructor removes it. While it is open it is locked (flock) and, where the host
// keeps a journal, written down there, so that what a killed process leaves is found again
// (undo_sink). Writes may come from any threads at once; everything else
// from one at a time.
#ifndef HYPERHOST_STORAGE_LOCAL_LOCAL_SINK_HPP
#define HYPERHOST_STORAGE_LOCAL_LOCAL_SINK_HPP

#include <atomic>
#include <hyper/sink.hpp>
#include <mutex>
#include <optional>
#include <string>

#include "plugins/storage/local/rooted_directory.hpp"

namespace hyperhost::storage_local {

struct SinkPolicy {
  std::string key;  ///< of the place
  bool overwrite = false;
  bool durable = false;  ///< the file's bytes are on the disk before it gets its name
};

class LocalSink final : public hyper::Sink {
 public:
  /// Makes the temporary file. REQUIRES: place.directory is open.
  LocalSink(hyper::Op op, Place place, SinkPolicy policy);
  /// Opens the unfinished file `temporary` of an earlier sink and cuts it at `length`. Throws
  /// NOTFOUND where it is not there.
  LocalSink(hyper::Op op, Place place, SinkPolicy policy, const std::string& temporary,
            uint64_t length);
  LocalSink(const LocalSink&) = delete;
  LocalSink& operator=(const LocalSink&) = delete;
  ~LocalSink() override;
  void close(hyper::Op op) override;

  hyper::SinkTraits traits() const override;
  void write_at(hyper::Op op, uint64_t offset, const void* buf, uint64_t len) override;
  void zero_at(hyper::Op op, uint64_t offset, uint64_t len) override;
  const char* path() override;
  void sync(hyper::Op op) override;
  std::unique_ptr<hyper::Source> reopen(hyper::Op op, uint64_t length) override;
  /// The file must not be longer than `length`: commit never cuts off what was written.
  std::string commit(hyper::Op op, uint64_t length) override;
  std::string keep(hyper::Op op, bool on) override;

 private:
  uint64_t size() const;
  void start_write_back(uint64_t written);
  void lengthen(uint64_t length);
  void take_name();
  void settle(hyper::Op op) noexcept;  ///< closes the journal's entry
  hyper::Error failed(int error_number, const std::string& doing) const;

  Place place_;
  SinkPolicy policy_;
  std::string temporary_name_, temporary_path_;
  UniqueFd fd_;
  /// The kernel lets one writer at a time into a file, and a thread that waits for it spins; a
  /// thread that waits here sleeps.
  std::mutex turn_;
  std::atomic<uint64_t> unsynced_{0};
  std::optional<uint64_t> entry_;  ///< of the journal
  bool committed_ = false, kept_ = false;
};

/// Removes the unfinished file that a sink's journal entry names, and the directory it lay in if
/// that is empty now. False: the entry is not of this root. Throws where a sink has it open.
bool undo_sink(const RootedDirectory& root, const std::string& entry_json);

}  // namespace hyperhost::storage_local

#endif
