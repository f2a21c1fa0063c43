// SPDX-License-Identifier: Apache-2.0
#include "core/disk/image_block.hpp"

namespace hyperhost {

ImageBlock::ImageBlock(std::string id, std::string path, std::string format,
                       std::unique_ptr<SourceHandle> image)
    : id_(std::move(id)),
      path_(std::move(path)),
      format_(std::move(format)),
      image_(std::move(image)) {
  table_.size = sizeof table_;
  table_.flags = HYPER_BLOCK_ATTACH;
  table_.ctx = this;
  table_.id = id_.c_str();
  table_.length = image_->length();
  table_.block_min = 1;
  table_.block_pref = 64 * 1024;
  table_.max_parallel = 1;
  table_.read_at = [](void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, void* buffer,
                      uint64_t length) noexcept -> hyper_st {
    if (flags != 0) return HYPER_UNSUPPORTED;
    const auto& source = static_cast<ImageBlock*>(ctx)->image_->table();
    return source.read_at(source.ctx, op, 0, offset, buffer, length);
  };
  table_.attach = [](void* ctx, hyper_op* op, uint32_t flags, int32_t how, hyper_emit emit,
                     void* arg) noexcept -> hyper_st {
    return flags != 0 ? HYPER_UNSUPPORTED
                      : static_cast<ImageBlock*>(ctx)->attach(op, how, emit, arg);
  };
  table_.detach = [](void*, hyper_op*, uint32_t) noexcept -> hyper_st { return HYPER_OK; };
  table_.get_ext = [](void*, const char*, void**) noexcept -> const void* { return nullptr; };
}

hyper_st ImageBlock::attach(hyper_op* op, int32_t how, hyper_emit emit, void* arg) const {
  if (how != HYPER_ATTACH_QCOW2) return HYPER_UNSUPPORTED;
  try {
    const std::string text = nlohmann::json{{"path", path_}, {"format", format_}}.dump();
    return emit(arg, text.data(), text.size());
  } catch (const std::exception& error) {  // the path is no UTF-8
    return report_to(op, Error(Code::kUnsupported, "cannot attach " + id_, error.what(),
                               "rename the file or its directory")
                             .diagnostic());
  }
}

}  // namespace hyperhost
