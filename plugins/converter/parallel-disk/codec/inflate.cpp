// SPDX-License-Identifier: Apache-2.0
#include "codec/inflate.hpp"

#include <libdeflate.h>
#include <zstd.h>

#include <cstring>
#include <new>

namespace hyper::disk {

struct Inflater::Impl {
  struct FreeDeflate {
    void operator()(libdeflate_decompressor* state) const { libdeflate_free_decompressor(state); }
  };
  struct FreeZstd {
    void operator()(ZSTD_DCtx* state) const { ZSTD_freeDCtx(state); }
  };
  std::unique_ptr<libdeflate_decompressor, FreeDeflate> deflate{libdeflate_alloc_decompressor()};
  std::unique_ptr<ZSTD_DCtx, FreeZstd> zstd;  // made when first needed
};

Inflater::Inflater() : impl_(std::make_unique<Impl>()) {
  if (!impl_->deflate) throw std::bad_alloc();
}
Inflater::~Inflater() = default;

std::optional<Inflated> Inflater::run(Codec codec, const uint8_t* in, std::size_t in_length,
                                      uint8_t* out, std::size_t out_capacity) {
  Inflated done;
  switch (codec) {
    case Codec::kNone:
      if (in_length > out_capacity) return std::nullopt;
      std::memcpy(out, in, in_length);
      return Inflated{in_length, in_length};
    case Codec::kZlib:
      if (libdeflate_zlib_decompress_ex(impl_->deflate.get(), in, in_length, out, out_capacity,
                                        &done.consumed, &done.produced) != LIBDEFLATE_SUCCESS)
        return std::nullopt;
      return done;
    case Codec::kRawDeflate:
      if (libdeflate_deflate_decompress_ex(impl_->deflate.get(), in, in_length, out, out_capacity,
                                           &done.consumed, &done.produced) != LIBDEFLATE_SUCCESS)
        return std::nullopt;
      return done;
    case Codec::kZstd: {
      if (!impl_->zstd) impl_->zstd.reset(ZSTD_createDCtx());
      if (!impl_->zstd) throw std::bad_alloc();
      done.consumed = ZSTD_findFrameCompressedSize(in, in_length);
      if (ZSTD_isError(done.consumed) != 0) return std::nullopt;
      done.produced = ZSTD_decompressDCtx(impl_->zstd.get(), out, out_capacity, in, done.consumed);
      if (ZSTD_isError(done.produced) != 0) return std::nullopt;
      return done;
    }
  }
  return std::nullopt;
}

}  // namespace hyper::disk
