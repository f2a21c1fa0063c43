// SPDX-License-Identifier: Apache-2.0
#include "core/block/overlay.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/base/text.hpp"

namespace hyperhost {
namespace {

constexpr uint64_t kPlaces = 16;  // of a fingerprint, and the disk's end

/// What makes a disk the same when an overlay is opened again.
OverlayFile::Fingerprint fingerprint(const std::shared_ptr<SourceHandle>& base, Operation& op) {
  const uint64_t length = base->length(), place = Overlay::kCluster;
  std::vector<unsigned char> bytes;
  BaseReader reader(base);
  for (uint64_t i = 0; i <= kPlaces; ++i) {
    const uint64_t share = length / kPlaces * i;
    const uint64_t at = i == kPlaces ? length - std::min(place, length) : share;
    const uint64_t size = std::min(place, length - at);
    const std::size_t end = bytes.size();
    bytes.resize(end + size);
    if (size == 0) continue;
    try {
      reader.read(hyper::Op(&op), at, bytes.data() + end, size);
    } catch (const hyper::Reported& failure) {
      op.check(failure.status(), "read of the disk below the overlay");
    }
  }
  OverlayFile::Fingerprint out{};
  if (EVP_Digest(bytes.data(), bytes.size(), out.data(), nullptr, EVP_sha256(), nullptr) != 1)
    throw Error(Code::kFail, "SHA-256 is not available in this OpenSSL");
  return out;
}

}  // namespace

Overlay::Overlay(std::shared_ptr<SourceHandle> base, OverlayFile file,
                 std::unique_ptr<OverlayMap> map)
    : base_(std::move(base)), file_(std::move(file)), map_(std::move(map)) {
  static_cast<void>(host_table());
}

std::shared_ptr<Overlay> Overlay::scratch(std::shared_ptr<SourceHandle> base,
                                          const std::filesystem::path& directory) {
  OverlayFile file = OverlayFile::nameless(directory, base->length());
  return std::shared_ptr<Overlay>(
      new Overlay(std::move(base), std::move(file), std::make_unique<OverlayMap>()));
}

std::shared_ptr<Overlay> Overlay::keepable(std::shared_ptr<SourceHandle> base,
                                           const std::filesystem::path& directory, Operation& op) {
  OverlayFile file = OverlayFile::keepable(directory, base->length(), fingerprint(base, op));
  return std::shared_ptr<Overlay>(
      new Overlay(std::move(base), std::move(file), std::make_unique<OverlayMap>()));
}

std::shared_ptr<Overlay> Overlay::kept(std::shared_ptr<SourceHandle> base,
                                       const std::filesystem::path& file, Operation& op) {
  static_cast<void>(host_table());
  auto map = std::make_unique<OverlayMap>();
  OverlayFile opened = OverlayFile::kept(file, base->length(), fingerprint(base, op), *map);
  return std::shared_ptr<Overlay>(new Overlay(std::move(base), std::move(opened), std::move(map)));
}

uint64_t Overlay::cluster_bytes(uint64_t cluster) const {
  return std::min(kCluster, length() - cluster * kCluster);
}

void Overlay::read_at(hyper::Op op, uint64_t offset, void* buffer, uint64_t length) {
  check_range(offset, length, this->length());
  auto* out = static_cast<unsigned char*>(buffer);
  for (const uint64_t end = offset + length; offset < end;) {
    // Another thread may write meanwhile: what is read is then as it was before or is after.
    const auto run = map_->run(offset / kCluster, (end + kCluster - 1) / kCluster);
    const uint64_t size = std::min(end, run.end * kCluster) - offset;
    switch (run.held) {
      case Held::kNothing:
        base_.read(op, offset, out, size);
        break;
      case Held::kZeros:
        std::memset(out, 0, size);
        break;
      case Held::kData:
        file_.read(offset, out, size);
        break;
    }
    out += size;
    offset += size;
  }
}

void Overlay::fill(hyper::Op op, uint64_t cluster, Held held, uint64_t offset, const void* bytes,
                   uint64_t length) {
  const uint64_t begin = cluster * kCluster, size = cluster_bytes(cluster);
  if (length == size) return file_.write(offset, bytes, length);
  std::vector<unsigned char> whole(size);
  if (held == Held::kNothing) base_.read(op, begin, whole.data(), size);
  std::memcpy(whole.data() + (offset - begin), bytes, length);
  file_.write(begin, whole.data(), size);
}

void Overlay::write_piece(hyper::Op op, uint64_t offset, const void* bytes, uint64_t length) {
  const uint64_t cluster = offset / kCluster;
  const std::lock_guard lock(lock_of(cluster));
  const Held held = map_->at(cluster);
  if (held == Held::kData) return file_.write(offset, bytes, length);
  fill(op, cluster, held, offset, bytes, length);
  map_->set(cluster, Held::kData);
}

void Overlay::write_at(hyper::Op op, uint64_t offset, const void* bytes, uint64_t length) {
  check_range(offset, length, this->length());
  const auto* in = static_cast<const unsigned char*>(bytes);
  for (const uint64_t end = offset + length; offset < end;) {
    const uint64_t here = std::min(end, (offset / kCluster + 1) * kCluster) - offset;
    write_piece(op, offset, in, here);
    in += here;
    offset += here;
  }
}

void Overlay::zero_cluster(uint64_t cluster) {
  const std::lock_guard lock(lock_of(cluster));
  const Held held = map_->at(cluster);
  if (held == Held::kZeros) return;
  map_->set(cluster, Held::kZeros);
  if (held == Held::kData) file_.punch(cluster * kCluster, cluster_bytes(cluster));
}

void Overlay::zero_piece(hyper::Op op, uint64_t offset, uint64_t length) {
  static const std::array<unsigned char, kCluster> zeros{};
  const uint64_t cluster = offset / kCluster;
  const std::lock_guard lock(lock_of(cluster));
  const Held held = map_->at(cluster);
  if (held == Held::kZeros) return;
  if (held == Held::kData) return file_.write(offset, zeros.data(), length);
  fill(op, cluster, held, offset, zeros.data(), length);
  map_->set(cluster, Held::kData);
}

void Overlay::zero_at(hyper::Op op, uint64_t offset, uint64_t length) {
  check_range(offset, length, this->length());
  for (const uint64_t end = offset + length; offset < end;) {
    const uint64_t cluster = offset / kCluster;
    const uint64_t here = std::min(end, (cluster + 1) * kCluster) - offset;
    if (cluster % 1024 == 0) op.check_cancelled();
    if (here == cluster_bytes(cluster))
      zero_cluster(cluster);
    else
      zero_piece(op, offset, here);
    offset += here;
  }
}

void Overlay::flush(hyper::Op) {
  const std::lock_guard lock(flush_);
  file_.flush(*map_);
}

void Overlay::keep(const std::filesystem::path& file) {
  const std::lock_guard lock(flush_);
  try {
    file_.keep(file, *map_);
  } catch (const hyper::Error& error) {
    throw Error(static_cast<Code>(error.status()), error.summary(), error.detail());
  }
}

std::string Overlay::digest(Operation& op) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(),
                                                                     EVP_MD_CTX_free);
  bool good = hash && EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr) == 1;
  const auto add = [&](const void* bytes, std::size_t size) {
    good = good && EVP_DigestUpdate(hash.get(), bytes, size) == 1;
  };
  std::vector<unsigned char> bytes(kCluster);
  each_held([&](uint64_t offset, uint64_t length) {
    for (const uint64_t end = offset + length; offset < end;) {
      op.cancel().check();
      const uint64_t size = std::min(kCluster, end - offset);
      try {
        read_at(hyper::Op(&op), offset, bytes.data(), size);
      } catch (const hyper::Error& failure) {
        throw Error(static_cast<Code>(failure.status()), failure.summary(), failure.detail());
      }
      const std::string place = std::to_string(offset) + " " + std::to_string(size) + "\n";
      add(place.data(), place.size());
      add(bytes.data(), size);
      offset += size;
    }
  });
  unsigned char out[32];
  if (!good || EVP_DigestFinal_ex(hash.get(), out, nullptr) != 1)
    throw Error(Code::kFail, "SHA-256 is not available in this OpenSSL");
  return to_hex(std::string_view(reinterpret_cast<const char*>(out), sizeof out));
}

void Overlay::extents(hyper::Op op, uint64_t offset, uint64_t length, const OnExtent& on_extent) {
  check_range(offset, length, this->length());
  for (const uint64_t end = offset + length; offset < end;) {
    op.check_cancelled();
    const uint64_t window = std::min(end, offset + BaseReader::kWindow);
    const auto run = map_->run(offset / kCluster, (window + kCluster - 1) / kCluster);
    const uint64_t here = std::min(window, run.end * kCluster) - offset;
    if (run.held != Held::kNothing) {
      on_extent({offset, here, run.held == Held::kZeros ? HYPER_EXTENT_ZERO : 0u, 0});
    } else {
      for (const hyper_extent& extent : base_.extents(op, offset, here)) on_extent(extent);
    }
    offset += here;
  }
}

void Overlay::read_base(hyper::Op op, uint64_t offset, void* buffer, uint64_t length) {
  check_range(offset, length, this->length());
  if (length != 0) base_.read(op, offset, buffer, length);
}

void Overlay::each_held(const std::function<void(uint64_t, uint64_t)>& on_run) const {
  const uint64_t all = clusters();
  for (uint64_t cluster = 0; cluster < all;) {
    const auto run = map_->run(cluster, all);
    if (run.held != Held::kNothing)
      on_run(cluster * kCluster, std::min(run.end * kCluster, length()) - cluster * kCluster);
    cluster = run.end;
  }
}

}  // namespace hyperhost
