// SPDX-License-Identifier: Apache-2.0
// A finished disk image as a hyper_block (hyper/draft/block.h) that is only read: through the
// image's reader, or by a program that opens the file itself. Lives as long as the call that gets
// the block. Calls of one block: one thread at a time.
#pragma once

#include <hyper/draft/block.h>

#include <memory>
#include <string>

#include "core/plugin/handles.hpp"

namespace hyperhost {

class ImageBlock {
 public:
  /// image: the guest-visible bytes of the file at `path`, which is of `format`.
  ImageBlock(std::string id, std::string path, std::string format,
             std::unique_ptr<SourceHandle> image);
  ImageBlock(const ImageBlock&) = delete;
  ImageBlock& operator=(const ImageBlock&) = delete;

  /// Its text and its context are this object's.
  const hyper_block& table() const { return table_; }

 private:
  hyper_st attach(hyper_op* op, int32_t how, hyper_emit emit, void* arg) const;

  const std::string id_, path_, format_;
  const std::unique_ptr<SourceHandle> image_;
  hyper_block table_{};
};

}  // namespace hyperhost
