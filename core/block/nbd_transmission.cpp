// SPDX-License-Identifier: Apache-2.0
#include "core/block/nbd_transmission.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "core/base/redactor.hpp"
#include "core/block/base_reader.hpp"
#include "core/block/nbd_protocol.hpp"

namespace hyperhost {

using namespace nbd;  // NOLINT: the numbers of the protocol

namespace {

constexpr uint32_t kPiece = 1 << 20;
constexpr std::size_t kMostDescriptors = 4096;  // of one answer about extents

uint32_t nbd_error(hyper_st status) {
  switch (status) {
    case HYPER_NOSPACE:
      return kEnospc;
    case HYPER_AUTH:
      return kEperm;
    case HYPER_CANCELLED:
      return kEshutdown;
    default:
      return kEio;
  }
}

/// FUA is allowed with every request, and means nothing where the request writes nothing.
uint16_t known_flags(uint16_t type) {
  switch (type) {
    case kCmdRead:
      return kFlagFua | kFlagDf;
    case kCmdWriteZeroes:
      return kFlagFua | kFlagNoHole;
    case kCmdBlockStatus:
      return kFlagFua | kFlagReqOne;
    default:
      return kFlagFua;
  }
}

}  // namespace

NbdTransmission::NbdTransmission(NbdStream& stream, const NbdAgreement& agreed, std::string name,
                                 std::shared_ptr<CancelSource> cancel)
    : stream_(stream),
      agreed_(agreed),
      disk_(*agreed.chosen->disk),
      name_(std::move(name)),
      cancel_(std::move(cancel)),
      buffer_(kPiece) {}

void NbdTransmission::run() {
  for (;;) {
    // The stream looks at it only where it waits, and not for a client that always sends.
    if (cancel_->cancelled()) throw NbdEnd{"the server stops"};
    if (stream_.read32() != kRequestMagic) throw NbdEnd{"a request does not begin as one"};
    Request request;
    request.flags = stream_.read16();
    request.type = stream_.read16();
    request.handle = stream_.read64();
    request.offset = stream_.read64();
    request.length = stream_.read32();
    if (request.type == kCmdDisconnect) return;
    serve(request);
  }
}

uint32_t NbdTransmission::fault(const Request& request) const {
  if ((request.flags & ~known_flags(request.type)) != 0) return kEinval;
  if (request.type == kCmdFlush) return request.offset == 0 && request.length == 0 ? 0 : kEinval;
  const bool writes = request.type == kCmdWrite || request.type == kCmdWriteZeroes;
  if (writes && !disk_.writable()) return kEperm;
  if (request.length == 0) return kEinval;
  if (request.type == kCmdRead && request.length > kLongestPayload) return kEinval;
  if (request.offset > disk_.length() || request.length > disk_.length() - request.offset)
    return writes ? kEnospc : kEinval;
  return 0;
}

void NbdTransmission::serve(const Request& request) {
  switch (request.type) {
    case kCmdRead:
      return read(request);
    case kCmdWrite:
      return write(request);
    case kCmdWriteZeroes:
      return write_zeroes(request);
    case kCmdBlockStatus:
      return block_status(request);
    case kCmdFlush: {
      uint32_t error = fault(request);
      if (error == 0) error = attempt([&](hyper::Op op) { disk_.flush(op); });
      return done(request, error);
    }
    default:
      return done(request, kEinval);
  }
}

uint32_t NbdTransmission::attempt(const std::function<void(hyper::Op)>& call) {
  Operation op(name_, cancel_);
  hyper_st status = HYPER_FAIL;
  std::string why;
  try {
    call(hyper::Op(&op));
    return 0;
  } catch (const hyper::Reported& failure) {
    status = failure.status();
    const auto reported = op.diagnostics();
    if (!reported.empty()) why = to_string(reported.back());
  } catch (const hyper::Error& failure) {
    status = failure.status();
    why = failure.what();
  } catch (const Error& failure) {
    status = static_cast<hyper_st>(failure.code());
    why = failure.what();
  } catch (const std::bad_alloc&) {
    why = "out of memory";
  }
  if (cancel_->cancelled()) return kEshutdown;
  if (!std::exchange(reported_, true))
    spdlog::warn("{}: {}", name_, Redactor::global().redact(why));
  return nbd_error(status);
}

void NbdTransmission::done(const Request& request, uint32_t error) {
  if (!agreed_.structured || (error == 0 && request.type != kCmdRead)) {
    NbdMessage().u32(kSimpleReplyMagic).u32(error).u64(request.handle).send(stream_);
  } else if (error == 0) {
    chunk(request, kChunkDone, kChunkNone, 0, {});
  } else {
    chunk(request, kChunkDone, kChunkError, 6, NbdMessage().u32(error).u16(0).bytes());
  }
}

void NbdTransmission::chunk(const Request& request, uint16_t flags, uint16_t type, uint64_t size,
                            std::string_view head) {
  NbdMessage()
      .u32(kStructuredReplyMagic)
      .u16(flags)
      .u16(type)
      .u64(request.handle)
      .u32(static_cast<uint32_t>(size))
      .text(head)
      .send(stream_);
}

void NbdTransmission::read(const Request& request) {
  if (const uint32_t error = fault(request)) return done(request, error);
  if ((request.flags & kFlagDf) != 0 && request.length > kPiece) return done(request, kEoverflow);
  for (uint32_t at = 0; at < request.length;) {
    const uint32_t size = std::min(kPiece, request.length - at);
    const uint64_t offset = request.offset + at;
    const uint32_t error =
        attempt([&](hyper::Op op) { disk_.read_at(op, offset, buffer_.data(), size); });
    if (error != 0) {
      // A simple reply has no place for an error behind its beginning.
      if (at != 0 && !agreed_.structured) throw NbdEnd{"the disk could not be read"};
      return done(request, error);
    }
    at += size;
    if (agreed_.structured)
      chunk(request, at == request.length ? kChunkDone : 0, kChunkOffsetData, 8 + uint64_t{size},
            NbdMessage().u64(offset).bytes());
    else if (at == size)
      NbdMessage().u32(kSimpleReplyMagic).u32(0).u64(request.handle).send(stream_);
    stream_.write(buffer_.data(), size);
  }
}

// Its data follows the request, whatever is wrong with it.
void NbdTransmission::write(const Request& request) {
  if (request.length > kLongestPayload) throw NbdEnd{"a write is too long"};
  uint32_t error = fault(request);
  for (uint32_t at = 0; at < request.length;) {
    const uint32_t size = std::min(kPiece, request.length - at);
    stream_.read(buffer_.data(), size);
    if (error == 0)
      error = attempt(
          [&](hyper::Op op) { disk_.write_at(op, request.offset + at, buffer_.data(), size); });
    at += size;
  }
  if (error == 0 && (request.flags & kFlagFua) != 0)
    error = attempt([&](hyper::Op op) { disk_.flush(op); });
  done(request, error);
}

void NbdTransmission::write_zeroes(const Request& request) {
  uint32_t error = fault(request);
  if (error == 0)
    error = attempt([&](hyper::Op op) {
      disk_.zero_at(op, request.offset, request.length);
      if ((request.flags & kFlagFua) != 0) disk_.flush(op);
    });
  done(request, error);
}

void NbdTransmission::block_status(const Request& request) {
  uint32_t error = agreed_.allocation ? fault(request) : kEinval;
  struct Descriptor {
    uint64_t length;
    uint32_t flags;
  };
  std::vector<Descriptor> found;
  const std::size_t most = (request.flags & kFlagReqOne) != 0 ? 1 : kMostDescriptors;
  bool full = false;
  const auto take = [&](const hyper_extent& extent) {
    const uint32_t flags = ((extent.flags & HYPER_EXTENT_HOLE) != 0 ? kStateHole | kStateZero : 0) |
                           ((extent.flags & HYPER_EXTENT_ZERO) != 0 ? kStateZero : 0);
    if (full) return;
    if (!found.empty() && found.back().flags == flags)
      found.back().length += extent.length;
    else if (found.size() == most)
      full = true;
    else
      found.push_back({extent.length, flags});
  };
  const uint64_t end = request.offset + request.length;
  for (uint64_t at = request.offset; error == 0 && !full && at < end;) {
    const uint64_t size = std::min(BaseReader::kWindow, end - at);
    error = attempt([&](hyper::Op op) { disk_.extents(op, at, size, take); });
    at += size;
  }
  if (error != 0) return done(request, error);
  NbdMessage message;
  message.u32(kAllocationContext);
  for (const Descriptor& one : found) message.u32(static_cast<uint32_t>(one.length)).u32(one.flags);
  chunk(request, kChunkDone, kChunkBlockStatus, message.bytes().size(), message.bytes());
}

}  // namespace hyperhost
