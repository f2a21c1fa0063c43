// SPDX-License-Identifier: Apache-2.0
// One conversation between the host and a worker process: a socket for small frames, and memory
// that both have mapped for everything else. A call takes a lane, writes its arguments, sends a
// frame, and finds the answer in the same memory. Only the host makes lanes and seals their memory
// against shrinking: a worker cannot take away memory that the host has mapped. One thread at a
// time on each end.
#pragma once

#include <hyper/hyper.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "core/os/fd.hpp"

namespace hyperhost::isolation {

/// The functions that cross the process border. Those of sources and sinks work in both directions.
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
  kGuestOpen,
  kGuestClose,
  kGuestPlan,
  kInspect,
  kPrepare,
  kBootOpen,
  kBootClose,
  kBootPlan,
  kBootCheck,
  kTargetConnect,
  kTargetDisconnect,
  kTargetInfo,
  kTargetPlan,
  kPutDisk,
  kImportDisk,
  kGetDisk,
  kDefine,
  kTargetStart,
  kTargetState,
  kTargetStop,
  kTargetRemove,
  kTargetUndo,
  // Sources, sinks and blocks.
  kReadAt = 96,
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
  kBlockRead,
  kBlockWrite,
  kBlockZero,
  kBlockFlush,
  kBlockExtents,
  kBlockAttach,
  kBlockDetach,
  // To the host: its services.
  kEmit = 160,
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
  uint64_t object = 0;    ///< the number of the called object; in an answer: of the opened one
  uint64_t op = 0;        ///< the number of the operation; 0 = none
  uint64_t emit = 0;      ///< the number of the emitter for results (kEmit's object); 0 = none
  uint64_t a = 0, b = 0;  ///< numbers; each verb defines their meaning
  uint64_t flags = 0;     ///< the flags of the call
  uint64_t payload = 0;   ///< the number of bytes in the lane's memory
  uint64_t capacity = 0;  ///< the size of the lane's memory, which only grows
  uint64_t memory = 0;    ///< number of the SharedMemory with the disk's bytes; 0: in the payload
  uint64_t place = 0;     ///< offset of the bytes in that memory
};

/// The other end is gone.
struct PeerGone {};

class Lane {
 public:
  /// A call with more bytes than this is refused. The largest call writes a part of an upload.
  static constexpr uint64_t kMostBytes = 1u << 30;

  Lane(Fd socket, Fd memory);
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;
  /// Host only. Makes both ends: {this side's, {socket, memory} for the other side}.
  static std::pair<std::unique_ptr<Lane>, std::pair<Fd, Fd>> create();

  int socket() const { return socket_.get(); }
  /// Returns the lane's memory, enlarged to at least that size. Keeps its content.
  unsigned char* room(uint64_t bytes);
  void send(Frame frame);
  /// Waits for a frame. Its payload is then at data(). Throws PeerGone.
  Frame receive();
  const unsigned char* data() const { return map_; }

 private:
  void remap(uint64_t capacity);
  Fd socket_, memory_;
  unsigned char* map_ = nullptr;
  uint64_t mapped_ = 0;
};

/// Writes texts one after another to a lane's memory.
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

/// Reads from a lane's memory. It copies before anything is checked, because the other end may
/// still write there.
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
