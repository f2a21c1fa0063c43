// SPDX-License-Identifier: Apache-2.0
#include "codec/deflate.hpp"

#include <libdeflate.h>
#include <zlib.h>
#include <zstd.h>

#include <new>

namespace hyper::disk {

int default_level(Packing packing) {
  switch (packing) {
    case Packing::kZlib:
    case Packing::kRawDeflate:
      return 1;
    case Packing::kRawDeflate4K:
      return 6;
    case Packing::kZstd:
      return 2;
    case Packing::kNone:
      break;
  }
  return 0;
}

LevelRange levels(Packing packing) {
  switch (packing) {
    case Packing::kZlib:
    case Packing::kRawDeflate:
      return {1, 12};
    case Packing::kRawDeflate4K:
      return {1, 9};
    case Packing::kZstd:
      return {1, ZSTD_maxCLevel()};
    case Packing::kNone:
      break;
  }
  return {0, 0};
}

struct Deflater::Impl {
  struct FreeDeflate {
    void operator()(libdeflate_compressor* state) const { libdeflate_free_compressor(state); }
  };
  struct FreeZstd {
    void operator()(ZSTD_CCtx* state) const { ZSTD_freeCCtx(state); }
  };
  ~Impl() {
    if (zlib_ready) deflateEnd(&zlib);
  }
  Packing packing = Packing::kNone;
  int level = 0;
  std::unique_ptr<libdeflate_compressor, FreeDeflate> deflate;
  std::unique_ptr<ZSTD_CCtx, FreeZstd> zstd;
  z_stream zlib{};
  bool zlib_ready = false;
};

Deflater::Deflater(Packing packing, int level) : impl_(std::make_unique<Impl>()) {
  impl_->packing = packing;
  impl_->level = level == 0 ? default_level(packing) : level;
  switch (packing) {
    case Packing::kNone:
      return;
    case Packing::kZlib:
    case Packing::kRawDeflate:
      impl_->deflate.reset(libdeflate_alloc_compressor(impl_->level));
      if (!impl_->deflate) throw std::bad_alloc();
      return;
    case Packing::kRawDeflate4K:
      impl_->zlib_ready =
          deflateInit2(&impl_->zlib, impl_->level, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) == Z_OK;
      if (!impl_->zlib_ready) throw std::bad_alloc();
      return;
    case Packing::kZstd:
      impl_->zstd.reset(ZSTD_createCCtx());
      if (!impl_->zstd) throw std::bad_alloc();
      return;
  }
}
Deflater::~Deflater() = default;

std::size_t Deflater::run(const uint8_t* in, std::size_t in_length, uint8_t* out,
                          std::size_t capacity) {
  switch (impl_->packing) {
    case Packing::kNone:
      return 0;
    case Packing::kZlib:
      return libdeflate_zlib_compress(impl_->deflate.get(), in, in_length, out, capacity);
    case Packing::kRawDeflate:
      return libdeflate_deflate_compress(impl_->deflate.get(), in, in_length, out, capacity);
    case Packing::kRawDeflate4K: {
      z_stream& stream = impl_->zlib;
      if (deflateReset(&stream) != Z_OK) return 0;
      stream.next_in = const_cast<Bytef*>(in);  // zlib's interface; it does not write there
      stream.avail_in = static_cast<uInt>(in_length);
      stream.next_out = out;
      stream.avail_out = static_cast<uInt>(capacity);
      return ::deflate(&stream, Z_FINISH) == Z_STREAM_END ? capacity - stream.avail_out : 0;
    }
    case Packing::kZstd: {
      const std::size_t size =
          ZSTD_compressCCtx(impl_->zstd.get(), out, capacity, in, in_length, impl_->level);
      return ZSTD_isError(size) != 0 ? 0 : size;
    }
  }
  return 0;
}

}  // namespace hyper::disk
