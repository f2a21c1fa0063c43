// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/object/digest.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <array>
#include <cstring>
#include <hyper/error.hpp>
#include <vector>

namespace hyper::object {
namespace {

constexpr char kDigits[] = "0123456789abcdef";
constexpr uint32_t kCastagnoli = 0x82f63b78;  // reflected

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string digest(const EVP_MD* kind, std::string_view bytes) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), out, &length, kind, nullptr) != 1)
    throw Error(HYPER_FAIL, "this OpenSSL computes no such digest");
  return std::string(reinterpret_cast<char*>(out), length);
}

/// Eight tables: a word at a time.
const std::array<std::array<uint32_t, 256>, 8>& tables() {
  static const auto made = [] {
    std::array<std::array<uint32_t, 256>, 8> out{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kCastagnoli : 0);
      out[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; ++i)
      for (std::size_t k = 1; k < 8; ++k)
        out[k][i] = (out[k - 1][i] >> 8) ^ out[0][out[k - 1][i] & 0xff];
    return out;
  }();
  return made;
}

uint32_t crc32c_tables(const unsigned char* at, std::size_t length, uint32_t crc) {
  const auto& table = tables();
  for (; length >= 8; at += 8, length -= 8) {
    uint64_t word = 0;
    std::memcpy(&word, at, 8);  // little endian, as every machine this runs on
    word ^= crc;
    crc = 0;
    for (std::size_t k = 0; k < 8; ++k) crc ^= table[7 - k][(word >> (8 * k)) & 0xff];
  }
  for (; length > 0; ++at, --length) crc = (crc >> 8) ^ table[0][(crc ^ *at) & 0xff];
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32c_sse(const unsigned char* at, std::size_t length,
                                                      uint32_t crc) {
  uint64_t wide = crc;
  for (; length >= 8; at += 8, length -= 8) {
    uint64_t word = 0;
    std::memcpy(&word, at, 8);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (; length > 0; ++at, --length) crc = __builtin_ia32_crc32qi(crc, *at);
  return crc;
}
#endif

/// a * b modulo the polynomial, both reflected.
uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 0x80000000; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1) != 0 ? kCastagnoli : 0);
  }
  return product;
}

}  // namespace

std::string sha256(std::string_view bytes) {
  return digest(EVP_sha256(), bytes);
}

std::string md5(std::string_view bytes) {
  return digest(EVP_md5(), bytes);
}

std::string hmac_sha256(std::string_view key, std::string_view bytes) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes_of(bytes), bytes.size(),
           out, &length) == nullptr)
    throw Error(HYPER_FAIL, "this OpenSSL computes no HMAC");
  return std::string(reinterpret_cast<char*>(out), length);
}

uint32_t crc32c(std::string_view bytes, uint32_t before) {
#if defined(__x86_64__)
  static const bool fast = __builtin_cpu_supports("sse4.2") != 0;
  if (fast) return ~crc32c_sse(bytes_of(bytes), bytes.size(), ~before);
#endif
  return ~crc32c_tables(bytes_of(bytes), bytes.size(), ~before);
}

uint32_t crc32c_combine(uint32_t of_a, uint32_t of_b, uint64_t length_of_b) {
  // Appending n zero bytes multiplies by x^(8n): by repeated squaring.
  uint32_t power = 0x40000000;                                 // x
  for (int i = 0; i < 3; ++i) power = multiply(power, power);  // x^8
  for (; length_of_b != 0; length_of_b >>= 1) {
    if ((length_of_b & 1) != 0) of_a = multiply(power, of_a);
    power = multiply(power, power);
  }
  return of_a ^ of_b;
}

std::string crc32c_base64(uint32_t crc) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>((crc >> shift) & 0xff);
  return base64(bytes);
}

std::string hex(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::optional<std::string> from_hex(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  if (text.size() % 2 != 0) return std::nullopt;
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
  }
  return out;
}

std::string base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes_of(bytes),
                                     static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(length));
  return out;
}

std::string base64url(std::string_view bytes) {
  std::string out = base64(bytes);
  while (!out.empty() && out.back() == '=') out.pop_back();
  for (char& c : out) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return out;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  if (text.empty()) return std::string();
  const std::size_t padding = text.back() != '=' ? 0 : text[text.size() - 2] == '=' ? 2 : 1;
  if (text.substr(0, text.size() - padding).find('=') != std::string_view::npos)
    return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes_of(text),
                                     static_cast<int>(text.size()));
  if (length < 0) return std::nullopt;
  out.resize(static_cast<std::size_t>(length) - padding);
  return out;
}

std::string uri_encode(std::string_view text, bool keep_slash) {
  static constexpr char kUpper[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~' || (keep_slash && c == '/');
    if (plain) {
      out += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kUpper[byte >> 4];
      out += kUpper[byte & 15];
    }
  }
  return out;
}

std::string random_hex(std::size_t bytes) {
  std::vector<unsigned char> raw(bytes);
  if (RAND_bytes(raw.data(), static_cast<int>(bytes)) != 1)
    throw Error(HYPER_FAIL, "no random numbers from this OpenSSL");
  return hex({reinterpret_cast<const char*>(raw.data()), raw.size()});
}

}  // namespace hyper::object
