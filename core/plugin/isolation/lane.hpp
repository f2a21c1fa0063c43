// SPDX-License-Identifier: Apache-2.0
// One conversation between the host and a worker process: a socket for small frames and memory
// that both have mapped for everything else. A call takes a lane, writes its arguments, sends a
// frame, and finds the answer in the same memory. Made by the host only, so that the memory it
// maps cannot be taken away from it (sealed against shrinking). One thread at a time on each end.
#pragma once

#include <hyper/hyper.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "core/os/fd.hpp"

namespace hyperhost::isolation {

/// What is asked for. Those for tables work in both directions.
enum class Verb : uint32_t {
  // To the worker: the plugin and its interfaces.
  kStart = 1,
  kStop,
  kValidate,
  kProviderConnect,
  kProviderDisconnect,
  kListVms,
  kDescribeVm,
  kPreflight,
  kOpenVm,
  kOpenDisk,
  kCloseVm,
  kProviderUndo,
  kConverterOpen,
  kConverterClose,
  kPlan,
  kConvert,
  kProbe,
  kImageOpen,
  kStorageConnect,
  kStorageDisconnect,
  kInfo,
  kPut,
  kGet,
  kStat,
  kList,
  kRemove,
  kStorageUndo,
  // Sources and sinks.
  kReadAt = 64,
  kNext,
  kExtents,
  kLocate,
  kSibling,
  kFinish,
  kSourceClose,
  kWriteAt,
  kZeroAt,
  kSync,
  kReopen,
  kCommit,
  kKeep,
  kSinkClose,
  // To the host: its services.
  kEmit = 128,
  kReport,
  kLog,
  kProgress,
  kJournalOpen,
  kJournalUpdate,
  kJournalClose,
  kJournalList,
  kThrottle,
  kCheckpoint,
  kHasExtension,
};

struct Frame {
  Verb verb{};
  hyper_st status = HYPER_OK;
  uint64_t object = 0;    ///< whose call it is; in an answer: what was made
  uint64_t op = 0;        ///< the operation it belongs to; 0 = none
  uint64_t emit = 0;      ///< where results go (kEmit's object); 0 = nowhere
  uint64_t a = 0, b = 0;  ///< numbers, as the verb says
  uint64_t flags = 0;     ///< of the call
  uint64_t payload = 0;   ///< bytes in the lane's memory
  uint64_t capacity = 0;  ///< of the lane's memory, which only grows
  uint64_t memory = 0;    ///< number of the SharedMemory that the disk's bytes lie in; 0: payload
  uint64_t place = 0;     ///< of the bytes in it
};

/// The other end is gone.
struct PeerGone {};

class Lane {
 public:
  /// More than this in one call is refused: a part of an upload is the largest thing.
  static constexpr uint64_t kMostBytes = 1u << 30;

  Lane(Fd socket, Fd memory);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;
  /// Both ends: {ours, {socket, memory} for the other}. Host only.
  static std::pair<std::unique_ptr<Lane>, std::pair<Fd, Fd>> create();

  int socket() const { return socket_.get(); }
  /// Memory of at least that size; what is in it is kept.
  unsigned char* room(uint64_t bytes);
  void send(Frame frame);
  /// Blocks. The frame's payload is then at data(). Throws PeerGone.
  Frame receive();
  const unsigned char* data() const { return map_; }

 private:
  void remap(uint64_t capacity);
  Fd socket_, memory_;
  unsigned char* map_ = nullptr;
  uint64_t mapped_ = 0;
};

/// Texts one after another in a lane's memory.
class PayloadWriter {
 public:
  explicit PayloadWriter(Lane& lane, uint64_t at = 0) : lane_(lane), size_(at) {}
  PayloadWriter& text(std::string_view text);
  PayloadWriter& bytes(const void* data, std::size_t size);
  uint64_t size() const { return size_; }

 private:
  Lane& lane_;
  uint64_t size_;
};

/// Copies out of the memory before anything is believed: the other end may still write there.
class PayloadReader {
 public:
  PayloadReader(const Lane& lane, const Frame& frame) : at_(lane.data()), left_(frame.payload) {}
  std::string text();
  void bytes(void* out, std::size_t size);
  template <class T>
  T pod() {
    T out{};
    bytes(&out, sizeof out);
    return out;
  }

 private:
  const unsigned char* at_;
  uint64_t left_;
};

}  // namespace hyperhost::isolation
