// SPDX-License-Identifier: Apache-2.0
#include "stream_check.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <hyper/error.hpp>

namespace hyper::vsphere {
namespace {

constexpr std::size_t kStreamSector = 512;
constexpr uint64_t kMostBeside = 64u << 20;     // header, tables, markers of a small disk
constexpr uint64_t kTablesBehind = UINT64_MAX;  // gdOffset: the footer has the real offset

uint64_t little_endian(const std::string& bytes, std::size_t at, std::size_t length) {
  uint64_t out = 0;
  for (std::size_t i = length; i-- > 0;) out = out << 8 | static_cast<unsigned char>(bytes[at + i]);
  return out;
}

std::string hex_digest(EVP_MD_CTX* context) {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (EVP_DigestFinal_ex(context, bytes, &length) != 1)
    throw Error(HYPER_FAIL, "cannot compute a checksum");
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (unsigned int i = 0; i < length; ++i) {
    out += kDigits[bytes[i] >> 4];
    out += kDigits[bytes[i] & 15];
  }
  return out;
}

}  // namespace

StreamCheck::StreamCheck(std::string what, uint64_t capacity)
    : what_(std::move(what)),
      capacity_(capacity),
      sha1_(EVP_MD_CTX_new(), EVP_MD_CTX_free),
      sha256_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
  if (!sha1_ || !sha256_ || EVP_DigestInit_ex(sha1_.get(), EVP_sha1(), nullptr) != 1 ||
      EVP_DigestInit_ex(sha256_.get(), EVP_sha256(), nullptr) != 1)
    throw Error(HYPER_FAIL, "cannot compute checksums");
}

StreamCheck::~StreamCheck() = default;

void StreamCheck::feed(std::string_view bytes) {
  EVP_DigestUpdate(sha1_.get(), bytes.data(), bytes.size());
  EVP_DigestUpdate(sha256_.get(), bytes.data(), bytes.size());
  bytes_ += bytes.size();
  if (bytes_ > kMostBeside && bytes_ - kMostBeside > capacity_ + capacity_ / 8)
    throw Error(HYPER_CORRUPT, what_ + " is delivered without an end",
                std::to_string(bytes_) + " bytes came of a disk of " + std::to_string(capacity_))
        .retryable();
  if (!header_checked_) {
    head_.append(bytes.substr(0, kStreamSector - std::min(kStreamSector, head_.size())));
    if (head_.size() >= kStreamSector) check_header();
  }
  if (bytes.size() >= kStreamSector) {
    tail_.assign(bytes.substr(bytes.size() - kStreamSector));
  } else {
    tail_.append(bytes);
    if (tail_.size() > kStreamSector) tail_.erase(0, tail_.size() - kStreamSector);
  }
}

void StreamCheck::check_header() {
  header_checked_ = true;
  if (head_.compare(0, 4, "KDMV") != 0)
    throw Error(HYPER_CORRUPT, what_ + " is not delivered as a VMDK",
                "the stream does not begin with a VMDK's header");
  const uint64_t sectors = little_endian(head_, 12, 8);
  if (sectors != capacity_ / kStreamSector)
    throw Error(HYPER_CORRUPT, what_ + " is delivered with another size",
                "the stream holds " + std::to_string(sectors) + " sectors, the VM's disk has " +
                    std::to_string(capacity_ / kStreamSector))
        .hint("The disk was enlarged meanwhile, or the server confused two disks. Try again.")
        .retryable();
  ends_in_marker_ = little_endian(head_, 56, 8) == kTablesBehind;
}

StreamCheck::Result StreamCheck::finish() {
  const auto truncated = [&](const std::string& why) {
    return Error(HYPER_CORRUPT, what_ + " came incomplete", why).retryable();
  };
  if (!header_checked_) throw truncated("only " + std::to_string(bytes_) + " bytes");
  const bool marker =
      tail_.size() == kStreamSector && tail_.find_first_not_of('\0') == std::string::npos;
  if (ends_in_marker_ && (bytes_ % kStreamSector != 0 || !marker))
    throw truncated("the end-of-stream marker is missing");
  return {hex_digest(sha1_.get()), hex_digest(sha256_.get()), bytes_};
}

}  // namespace hyper::vsphere
