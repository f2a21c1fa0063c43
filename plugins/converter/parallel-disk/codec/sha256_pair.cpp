// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4, section 6.2) of two messages in turns of four rounds. One round of the
// processor's SHA instructions waits for the one before it; of two independent messages the one
// fills the other's gaps.
#include "codec/sha256.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#include <cstring>
#endif

namespace hyper::disk {

#if defined(__x86_64__)
namespace {

constexpr std::size_t kBlock = 64;

alignas(16) constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/// Two messages' states as the instructions want them: {F,E,B,A} and {H,G,D,C}, lowest word first.
struct States {
  __m128i feba[2], hgdc[2];
};

/// Takes `blocks` blocks of either message in. `in` is unaligned.
__attribute__((target("sha,sse4.1"))) void take_in(States& states, const uint8_t* const (&in)[2],
                                                   std::size_t blocks) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i feba[2] = {states.feba[0], states.feba[1]}, hgdc[2] = {states.hgdc[0], states.hgdc[1]};
  for (std::size_t block = 0; block < blocks; ++block) {
    __m128i words[2][4];  // of the schedule, the last sixteen
    const __m128i feba_before[2] = {feba[0], feba[1]}, hgdc_before[2] = {hgdc[0], hgdc[1]};
    for (int lane = 0; lane < 2; ++lane)
      for (int i = 0; i < 4; ++i)
        words[lane][i] = _mm_shuffle_epi8(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(in[lane] + block * kBlock) + i),
            big_endian);
#pragma GCC unroll 16
    for (int step = 0; step < 16; ++step) {
      const __m128i round = _mm_load_si128(reinterpret_cast<const __m128i*>(kRound) + step);
#pragma GCC unroll 2
      for (int lane = 0; lane < 2; ++lane) {
        __m128i(&w)[4] = words[lane];
        const __m128i four = _mm_add_epi32(w[step % 4], round);
        hgdc[lane] = _mm_sha256rnds2_epu32(hgdc[lane], feba[lane], four);
        feba[lane] = _mm_sha256rnds2_epu32(feba[lane], hgdc[lane], _mm_shuffle_epi32(four, 0x0e));
        if (step >= 12) continue;
        __m128i next = _mm_sha256msg1_epu32(w[step % 4], w[(step + 1) % 4]);
        next = _mm_add_epi32(next, _mm_alignr_epi8(w[(step + 3) % 4], w[(step + 2) % 4], 4));
        w[step % 4] = _mm_sha256msg2_epu32(next, w[(step + 3) % 4]);
      }
    }
    for (int lane = 0; lane < 2; ++lane) {
      feba[lane] = _mm_add_epi32(feba[lane], feba_before[lane]);
      hgdc[lane] = _mm_add_epi32(hgdc[lane], hgdc_before[lane]);
    }
  }
  for (int lane = 0; lane < 2; ++lane)
    states.feba[lane] = feba[lane], states.hgdc[lane] = hgdc[lane];
}

bool has_sha_instructions() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_SSE4_1) == 0) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

Hash256 unpack(__m128i feba, __m128i hgdc) {
  uint32_t low[4], high[4];
  std::memcpy(low, &feba, sizeof low);
  std::memcpy(high, &hgdc, sizeof high);
  const uint32_t state[8] = {low[3], low[2], high[3], high[2], low[1], low[0], high[1], high[0]};
  Hash256 out;
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<uint8_t>(state[i / 4] >> (24 - 8 * (i % 4)));
  return out;
}

std::array<Hash256, 2> interleaved(uint8_t prefix, const uint8_t* first, const uint8_t* second,
                                   std::size_t length) {
  const uint8_t* const data[2] = {first, second};
  States states;
  for (int lane = 0; lane < 2; ++lane) {
    states.feba[lane] = _mm_set_epi32(0x6a09e667, static_cast<int>(0xbb67ae85), 0x510e527f,
                                      static_cast<int>(0x9b05688c));
    states.hgdc[lane] =
        _mm_set_epi32(0x3c6ef372, static_cast<int>(0xa54ff53a), 0x1f83d9ab, 0x5be0cd19);
  }
  // The prefix shifts all by one: a block that begins with it, whole blocks, an end of one or two.
  uint8_t ends[2][2 * kBlock];
  for (int lane = 0; lane < 2; ++lane) {
    ends[lane][0] = prefix;
    std::memcpy(ends[lane] + 1, data[lane], kBlock - 1);
  }
  take_in(states, {ends[0], ends[1]}, 1);
  std::size_t at = kBlock - 1;
  const std::size_t blocks = (length - at) / kBlock;
  take_in(states, {first + at, second + at}, blocks);
  at += blocks * kBlock;
  const std::size_t rest = length - at, last = rest + 1 + sizeof(uint64_t) <= kBlock ? 1 : 2;
  const uint64_t bits = (uint64_t{length} + 1) * 8;
  for (int lane = 0; lane < 2; ++lane) {
    uint8_t* end = ends[lane];
    std::memset(end, 0, sizeof ends[lane]);
    if (rest != 0) std::memcpy(end, data[lane] + at, rest);
    end[rest] = 0x80;
    for (std::size_t i = 0; i < sizeof bits; ++i)
      end[last * kBlock - 1 - i] = static_cast<uint8_t>(bits >> (8 * i));
  }
  take_in(states, {ends[0], ends[1]}, last);
  return {unpack(states.feba[0], states.hgdc[0]), unpack(states.feba[1], states.hgdc[1])};
}

}  // namespace
#endif

bool Sha256::pairs() {
#if defined(__x86_64__)
  static const bool can = has_sha_instructions();
  return can;
#else
  return false;
#endif
}

std::array<Hash256, 2> Sha256::pair(uint8_t prefix, const uint8_t* first, const uint8_t* second,
                                    std::size_t length) {
#if defined(__x86_64__)
  if (pairs()) return interleaved(prefix, first, second, length);
#endif
  return {hash({{&prefix, 1}, {first, length}}), hash({{&prefix, 1}, {second, length}})};
}

}  // namespace hyper::disk
