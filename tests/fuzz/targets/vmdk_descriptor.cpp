// SPDX-License-Identifier: Apache-2.0
// The text descriptor of a VMDK whose bytes lie in files beside it. Input: the text.
#include <cstring>

#include "plugins/provider/local-ovf/vmdk_descriptor.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/image.hpp"

namespace {

/// The text, and files beside it that all have the same content.
class Described final : public hyper::Source {
 public:
  Described(std::string_view text, bool extent) : text_(text), extent_(extent) {}
  hyper::SourceTraits traits() const override {
    hyper::SourceTraits traits;
    traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_SIBLING;
    traits.length = extent_ ? kExtent : text_.size();
    traits.max_parallel = 16;
    return traits;
  }
  void read_at(hyper::Op, uint64_t offset, void* buffer, uint64_t len) override {
    const uint64_t length = traits().length;
    if (offset > length || len > length - offset) fuzz::fail("a read beyond the end of the file");
    if (extent_)
      std::memset(buffer, 'x', len);
    else if (len != 0)
      std::memcpy(buffer, text_.data() + offset, len);
  }
  std::unique_ptr<hyper::Source> sibling(hyper::Op, const std::string& name) override {
    if (name.find('/') != std::string::npos || name == ".." || name.empty())
      fuzz::fail("the reader asks for a file outside of the directory");
    return std::make_unique<Described>(text_, true);
  }

 private:
  static constexpr uint64_t kExtent = 256u << 10;
  std::string_view text_;
  bool extent_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  fuzz::op();
  hyper::OwnedSource source;
  hyper::export_source(std::make_unique<Described>(fuzz::text_of(data, size), false), source.out());
  fuzz::read_guest(source, "vmdk");
  const std::string text(fuzz::text_of(data, size));
  hyper::ovf::looks_like_vmdk_descriptor(text);
  hyper::ovf::mentions_vmdk_parent(text);
  fuzz::accepts([&] { hyper::ovf::parse_vmdk_descriptor(text, "disk.vmdk"); });
  return 0;
}
