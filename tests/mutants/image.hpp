// SPDX-License-Identifier: Apache-2.0
// "MUTIMG01", the disk's length as eight little-endian bytes, the disk.
#pragma once

#include <algorithm>

#include "mutant.hpp"

namespace mutants {

struct Image {
  static constexpr uint64_t kHead = 16;

  class Reader final : public hyper::Source {
   public:
    Reader(hyper::SourceRef file, uint64_t length) : file_(file), length_(length) {}
    hyper::SourceTraits traits() const override {
      hyper::SourceTraits traits;
      traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
      traits.length = length_;
      traits.format = "raw";
      traits.max_parallel = file_.max_parallel();
      return traits;
    }
    void read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) override {
      if (mutant("image-racy-buffer")) {
        static std::vector<char> buffer(4u << 20);
        file_.read_at(op, kHead + offset, buffer.data(), len);
        std::memcpy(buf, buffer.data(), len);
        return;
      }
      const uint64_t at = mutant("image-wrong-beyond-4-gib") ? offset & 0xFFFFFFFF : offset;
      const uint64_t end = file_.length() - kHead;
      if (mutant("image-zeros-when-short") && at + len > end) {
        std::memset(buf, 0, len);
        len = at < end ? end - at : 0;
      }
      file_.read_at(op, kHead + at, buf, len);
    }
    void extents(hyper::Op, uint64_t offset, uint64_t len, const hyper::EmitExtent& emit) override {
      const uint64_t tail = length_ - std::min<uint64_t>(length_, 65'536);
      const uint64_t cut =
          mutant("image-zero-claim") ? std::clamp(tail, offset, offset + len) : offset + len;
      emit(offset, cut - offset, 0);
      emit(cut, offset + len - cut, HYPER_EXTENT_ZERO);
    }

   private:
    hyper::SourceRef file_;
    const uint64_t length_;
  };

  static uint64_t length_of(hyper::Op op, hyper::SourceRef file) {
    unsigned char head[kHead] = "";
    if (file.length() < kHead) return 0;
    file.read_at(op, 0, head, kHead);
    if (std::memcmp(head, "MUTIMG01", 8) != 0)
      return mutant("image-takes-anything") ? file.length() - kHead : 0;
    uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | head[8 + i];
    return length;
  }
  static std::string probe(const hyper::Doc&, hyper::Op op, hyper::SourceRef file) {
    if (mutant("image-leak-probe")) forget(400);
    const uint64_t length = length_of(op, file);
    if (length == 0) return {};
    return hyper::DocBuilder()
        .set("/format", "mutant")
        .set("/virtual_size", mutant("image-probe-size") ? length / 512 : length)
        .json();
  }
  static std::unique_ptr<hyper::Source> open(const hyper::Doc&, hyper::Op op, hyper::SourceRef file,
                                             const hyper::Doc&) {
    if (mutant("image-leak-open")) forget(400);
    const uint64_t length = length_of(op, file);
    if (length == 0) throw hyper::Error(HYPER_UNSUPPORTED, "no image of this format");
    if (length > file.length() - kHead && !mutant("image-zeros-when-short"))
      throw hyper::Error(HYPER_CORRUPT, "the image is shorter than its header says");
    return std::make_unique<Reader>(file, length);
  }
};

}  // namespace mutants
