// SPDX-License-Identifier: Apache-2.0
// Checks a streamOptimized VMDK without decoding it: its header, whether its end is there, and the
// checksums of its bytes. The decoder checks the grains. One thread.
#ifndef HYPERHOST_PLUGINS_VSPHERE_STREAM_CHECK_HPP
#define HYPERHOST_PLUGINS_VSPHERE_STREAM_CHECK_HPP

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace hyper::vsphere {

class StreamCheck {
 public:
  /// capacity: the disk's, in bytes.
  StreamCheck(std::string what, uint64_t capacity);
  ~StreamCheck();
  StreamCheck(const StreamCheck&) = delete;
  StreamCheck& operator=(const StreamCheck&) = delete;

  /// Throws HYPER_CORRUPT as soon as the header is complete and wrong, or more bytes arrived than
  /// the disk can need.
  void feed(std::string_view bytes);

  struct Result {
    std::string sha1, sha256;
    uint64_t bytes = 0;
  };
  /// Call it at the end of the stream. Throws HYPER_CORRUPT if the stream does not end as a VMDK.
  Result finish();

 private:
  void check_header();

  const std::string what_;
  const uint64_t capacity_;
  std::string head_, tail_;
  bool header_checked_ = false, ends_in_marker_ = false;
  uint64_t bytes_ = 0;
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> sha1_, sha256_;
};

}  // namespace hyper::vsphere

#endif
