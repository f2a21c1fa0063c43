// SPDX-License-Identifier: Apache-2.0
// The format "acme": 8 bytes of magic, the guest-visible size as 8 bytes little-endian, and the
// disk's bytes. A reader, and a converter that makes one of a raw disk.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <hyper/plugin.hpp>
#include <vector>

namespace acme {

constexpr uint64_t kHead = 16;
constexpr std::array<char, 8> kMagic{'A', 'C', 'M', 'E', 'I', 'M', 'G', '\0'};

/// The guest-visible size; throws where the content is no image.
inline uint64_t read_head(hyper::Op op, hyper::SourceRef file) {
  std::array<char, kHead> head{};
  if (file.length() < kHead) throw hyper::Error(HYPER_UNSUPPORTED, "no acme image");
  file.read_at(op, 0, head.data(), head.size());
  if (!std::equal(kMagic.begin(), kMagic.end(), head.begin()))
    throw hyper::Error(HYPER_UNSUPPORTED, "no acme image");
  uint64_t size = 0;
  for (std::size_t i = kHead; i-- > kMagic.size();)
    size = size << 8 | static_cast<unsigned char>(head[i]);
  if (size > file.length() - kHead)
    throw hyper::Error(HYPER_CORRUPT, "the acme image ends before its disk does");
  return size;
}

class Reader : public hyper::Source {
 public:
  Reader(hyper::SourceRef file, uint64_t size) : file_(file), size_(size) {}
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
    traits.length = size_;
    traits.format = "raw";
    traits.max_parallel = file_.max_parallel();
    return traits;
  }
  void read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) override {
    file_.read_at(op, offset + kHead, buf, len);
  }
  void extents(hyper::Op, uint64_t offset, uint64_t len, const hyper::EmitExtent& emit) override {
    emit(offset, len, 0);
  }

 private:
  hyper::SourceRef file_;
  const uint64_t size_;
};

struct Image {
  static std::string probe(const hyper::Doc&, hyper::Op op, hyper::SourceRef file) {
    std::array<char, 8> magic{};
    if (file.length() < kHead) return {};
    file.read_at(op, 0, magic.data(), magic.size());
    return magic == kMagic ? R"({"format": "acme"})" : std::string();
  }
  static std::unique_ptr<hyper::Source> open(const hyper::Doc&, hyper::Op op, hyper::SourceRef file,
                                             const hyper::Doc& request) {
    const std::string wanted = request.string("/format", "acme");
    if (wanted != "acme" && wanted != "acme-1")
      throw hyper::Error(HYPER_UNSUPPORTED, "only acme images are read, not " + wanted);
    return std::make_unique<Reader>(file, read_head(op, file));
  }
};

class Converter : public hyper::ConverterInstance {
 public:
  static std::unique_ptr<Converter> open(const hyper::Doc&, hyper::Op) {
    return std::make_unique<Converter>();
  }
  std::string plan(hyper::Op, const hyper::Doc& request) override {
    if (request.need_string("/target/format") != "acme")
      throw hyper::Error(HYPER_UNSUPPORTED, "only acme is written").at("/target/format");
    if (request.string("/target/compression", "none") != "none")
      throw hyper::Error(HYPER_UNSUPPORTED, "acme has no compression").at("/target/compression");
    const std::string source = request.need_string("/source/format");
    if (source != "raw" && source != "acme" && source != "")
      throw hyper::Error(HYPER_UNSUPPORTED, "only raw and acme disks are read")
          .at("/source/format");
    return R"({"source": "seek", "sink": ["random"]})";
  }
  std::string convert(hyper::Op op, const hyper::Doc& request, hyper::SourceRef from,
                      hyper::SinkRef to) override {
    constexpr uint64_t kStep = 1 << 20;
    const bool acme = request.need_string("/source/format") == "acme";
    const uint64_t begin = acme ? kHead : 0;
    const uint64_t size = acme ? read_head(op, from) : from.length();
    std::array<char, kHead> head{};
    std::copy(kMagic.begin(), kMagic.end(), head.begin());
    for (std::size_t i = 0; i < 8; ++i) head[8 + i] = static_cast<char>(size >> 8 * i);
    to.write_at(op, 0, head.data(), head.size());
    std::vector<char> buffer(kStep);
    for (uint64_t done = 0; done < size;) {
      op.check_cancelled();
      const uint64_t part = std::min<uint64_t>(kStep, size - done);
      from.read_at(op, begin + done, buffer.data(), part);
      to.write_at(op, kHead + done, buffer.data(), part);
      op.progress(done += part, size);
    }
    return hyper::DocBuilder()
        .set("/virtual_size", size)
        .set("/bytes_written", kHead + size)
        .json();
  }
};

}  // namespace acme
