// SPDX-License-Identifier: Apache-2.0
// A streamOptimized VMDK as it arrives over a network: front to back, and the check of what a
// server sends.
#include "reader/vmdk_stream.hpp"
#include <algorithm>
#include <string>
#include <vector>

#include "engine/batch.hpp"
#include "plugins/provider/vsphere/stream_check.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/image.hpp"

namespace {

constexpr uint64_t kBatch = 1u << 20;
constexpr int kMostBatches = 64;  // a disk of terabytes is a matter of a few bytes

void read_all(const hyper::SourceRef& source) {
  hyper::disk::VmdkStreamReader reader(fuzz::op(), source);
  if (reader.grain_bytes() > hyper::disk::kLargestUnit) return;  // the engine refuses these
  reader.set_batch_bytes(kBatch);
  static hyper::disk::Workspace space(kBatch);
  static std::vector<uint8_t> unit(hyper::disk::kLargestUnit);
  uint64_t end = 0;
  for (int i = 0; i < kMostBatches && reader.next(fuzz::op(), space); ++i) {
    if (space.batch.guest < end || space.batch.length > kBatch) fuzz::fail("batches overlap");
    end = space.batch.guest + space.batch.length;
    for (const hyper::disk::Piece& piece : space.batch.pieces)
      if (piece.bytes != nullptr)
        space.inflater.run(piece.codec, piece.bytes, piece.file_length, unit.data(), unit.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::op();
  const fuzz::SparseFile file(data, size);
  const auto source = fuzz::open_source(file);
  fuzz::accepts([&] { read_all(*source); });
  fuzz::accepts([&] {
    hyper::vsphere::StreamCheck check("disk-0", 1u << 20);
    std::string bytes(4096, '\0');
    for (uint64_t at = 0; at < std::min<uint64_t>(file.length(), 1u << 20); at += bytes.size()) {
      bytes.resize(std::min<uint64_t>(bytes.size(), file.length() - at));
      file.read(at, bytes.data(), bytes.size());
      check.feed(bytes);
    }
    check.finish();
  });
  return 0;
}
