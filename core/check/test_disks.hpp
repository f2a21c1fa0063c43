// SPDX-License-Identifier: Apache-2.0
// Disks for the conformance suite, made here: known bytes, a qcow2 around them, a source that
// watches its reader and a sink that watches its writer. Thread-safe where a plugin may use them
// from several threads.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/check/run.hpp"

namespace hyperhost::check {

using Bytes = std::vector<unsigned char>;

/// `size` bytes: noise, text, and holes of zeros; the same for the same seed.
Bytes disk_bytes(std::size_t size, unsigned seed = 1);
/// A qcow2 (version 2) image of them. REQUIRES: a multiple of 512, at most 16 MiB.
Bytes qcow2_of(const Bytes& guest);
/// disk.raw, disk.qcow2 and large.raw (large_disk.hpp) in `directory`, unless they are there.
void write_sample_disks(const std::string& directory);
void write_file(const std::string& path, const Bytes& bytes);
/// In hexadecimal digits.
std::string sha256_of(const Bytes& bytes);

/// What a reader is offered.
struct SourceSetup {
  uint32_t flags = HYPER_SOURCE_SEEK;  ///< SEEK, STREAM, EXTENTS
  std::string format = "raw";
  uint64_t fails_at = UINT64_MAX;  ///< reading this byte fails with HYPER_IO
  uint64_t delay_us = 0;           ///< before each call
  uint32_t block_min = 1;          ///< reads are multiples of it …
  uint32_t block_max = 0;          ///< … and no longer than this; 0 = any
};

/// Bytes in memory as a plugin's reader sees them. What it does wrong with them is a finding.
class TestSource {
 public:
  TestSource(Run& run, Bytes bytes, SourceSetup setup);
  ~TestSource();
  TestSource(const TestSource&) = delete;
  TestSource& operator=(const TestSource&) = delete;
  /// Owned by this object, like what it refers to.
  const std::shared_ptr<SourceHandle>& handle() const { return handle_; }
  /// A borrower gave back all it took?
  void expect_all_released();

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::shared_ptr<SourceHandle> handle_;
};

struct SinkSetup {
  std::string kind = "random";     ///< random, parts, append, path
  uint64_t fails_at = UINT64_MAX;  ///< writing this byte fails with HYPER_NOSPACE
};

constexpr uint64_t kMaxSink = 256u << 20;  ///< no test writes as much as this

/// A sink in memory, or a file for "path".
class TestSink {
 public:
  TestSink(Run& run, const Plugin& plugin, SinkSetup setup, std::string path);
  ~TestSink();
  TestSink(const TestSink&) = delete;
  TestSink& operator=(const TestSink&) = delete;
  const SinkHandle& handle() const { return handle_; }
  /// What was written before the last sync(). Not for "path".
  Bytes written();  ///< all that reached it
  Bytes durable();
  /// What an earlier sink left: for a converter that continues. Before the first write.
  void begin_with(Bytes bytes);
  /// The first `length` bytes, as commit(length) would make them; into a file too.
  void write_to(const std::string& path, uint64_t length);

 private:
  struct State;
  std::unique_ptr<State> state_;
  SinkHandle handle_;
};

}  // namespace hyperhost::check
