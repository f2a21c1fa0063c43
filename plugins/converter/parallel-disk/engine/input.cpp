// SPDX-License-Identifier: Apache-2.0
#include "engine/input.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/bytes.hpp"

namespace hyper::disk {
namespace {
constexpr uint64_t kLongestRead = 4u << 20;  // between two looks at the cancel flag

[[noreturn]] void truncated(uint64_t offset, uint64_t length, uint64_t end) {
  throw Error(HYPER_CORRUPT, "the image is truncated",
              std::to_string(length) + " bytes at offset " + std::to_string(offset) +
                  " are referred to, but it ends at " + std::to_string(end))
      .hint("copy or export the image again");
}
}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Input::Input(Op op, const SourceRef& source) : source_(source) {
  if (!source.can(HYPER_SOURCE_FILE)) return;
  // A file that cannot be opened by its path (a private mount, say) is still read by read_at.
  const FileRange range = source.locate(op);
  file_ = Descriptor(::open(range.path.c_str(), O_RDONLY | O_CLOEXEC));
  file_offset_ = range.offset;
}

void Input::read(Op op, uint64_t offset, void* to, uint64_t length) const {
  if (offset > this->length() || length > this->length() - offset)
    truncated(offset, length, this->length());
  auto* out = static_cast<uint8_t*>(to);
  bytes_read_.fetch_add(length, std::memory_order_relaxed);
  if (file_.get() < 0) return read_source(op, offset, out, length);
  while (length != 0) {
    op.check_cancelled();
    const ssize_t got = ::pread(file_.get(), out, std::min(length, kLongestRead),
                                static_cast<off_t>(file_offset_ + offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw errno_error(errno, "read of the image at " + std::to_string(offset));
    if (got == 0) truncated(offset, length, offset);
    out += got;
    offset += static_cast<uint64_t>(got);
    length -= static_cast<uint64_t>(got);
  }
}

void Input::read_source(Op op, uint64_t offset, uint8_t* to, uint64_t length) const {
  const uint64_t block = std::max(1u, source_.raw()->block_min);
  uint64_t longest = source_.raw()->block_max;
  longest = longest == 0 ? kLongestRead : std::min(longest, kLongestRead);
  longest = std::max(block, longest / block * block);
  std::vector<uint8_t> bounce;
  while (length != 0) {
    op.check_cancelled();
    const uint64_t skew = offset % block;
    uint64_t want = std::min(length, longest);
    if (skew == 0 && (want % block == 0 || offset + want == this->length())) {
      source_.read_at(op, offset, to, want);
    } else if (skew == 0 && want > block) {
      want -= want % block;
      source_.read_at(op, offset, to, want);
    } else {  // an edge inside a block
      const uint64_t start = offset - skew;
      const uint64_t whole = std::min(block, this->length() - start);
      bounce.resize(whole);
      source_.read_at(op, start, bounce.data(), whole);
      want = std::min(want, whole - skew);
      std::memcpy(to, bounce.data() + skew, want);
    }
    to += want;
    offset += want;
    length -= want;
  }
}

Forward::Forward(const SourceRef& source) : source_(source) {
  if (source.can(HYPER_SOURCE_SEEK))
    input_ = std::make_unique<Input>(Op(nullptr), source);
  else if (!source.can(HYPER_SOURCE_STREAM))
    throw Error(HYPER_UNSUPPORTED, "the source can neither seek nor stream");
}

uint64_t Forward::read(Op op, void* to, uint64_t length) {
  uint64_t got = 0;
  if (input_) {
    got = std::min(length, input_->length() - position_);
    if (got != 0) input_->read(op, position_, to, got);
  } else {
    if (used_ == span_.size() && !ended_) {
      span_ = Span();  // given back before the next is asked for
      used_ = 0;
      span_ = source_.next(op);
      ended_ = span_.empty();
    }
    got = std::min(length, span_.size() - used_);
    if (got != 0) std::memcpy(to, span_.data() + used_, got);
    used_ += got;
  }
  position_ += got;
  return got;
}

}  // namespace hyper::disk
