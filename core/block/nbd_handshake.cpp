// SPDX-License-Identifier: Apache-2.0
#include "core/block/nbd_handshake.hpp"

#include <algorithm>

#include "core/block/nbd_protocol.hpp"

namespace hyperhost {

using namespace nbd;  // NOLINT: the numbers of the protocol

namespace {

constexpr int kMostOptions = 64;  // a client needs fewer than ten

/// The data of an option, read from its front. A number or a text that is not there sets bad().
class OptionReader {
 public:
  explicit OptionReader(const std::string& data) : data_(data) {}
  uint64_t number(std::size_t width) {
    uint64_t value = 0;
    for (const char byte : take(width)) value = value << 8 | static_cast<unsigned char>(byte);
    return value;
  }
  std::string_view text() {
    const uint64_t size = number(4);
    if (size > kLongestString) bad_ = true;
    return bad_ ? std::string_view() : take(size);
  }
  bool bad() const { return bad_; }
  /// All of it was read, and all of it was there.
  bool ended() const { return !bad_ && at_ == data_.size(); }

 private:
  std::string_view take(std::size_t size) {
    if (bad_ || size > data_.size() - at_) {
      bad_ = true;
      return {};
    }
    at_ += size;
    return std::string_view(data_).substr(at_ - size, size);
  }
  const std::string& data_;
  std::size_t at_ = 0;
  bool bad_ = false;
};

}  // namespace

NbdAgreement NbdHandshake::run() {
  NbdMessage().u64(kMagic).u64(kOptionMagic).u16(kFixedNewstyle | kNoZeroes).send(stream_);
  const uint32_t flags = stream_.read32();
  if ((flags & ~uint32_t{kFixedNewstyle | kNoZeroes}) != 0)
    throw NbdEnd{"it has flags that this server does not know"};
  no_zeroes_ = (flags & kNoZeroes) != 0;
  for (int options = 0; !done_; ++options) {
    if (options == kMostOptions) throw NbdEnd{"it sends too many options"};
    if (stream_.read64() != kOptionMagic) throw NbdEnd{"it does not speak the protocol"};
    const uint32_t number = stream_.read32();
    const uint32_t size = stream_.read32();
    if (size > kLongestOption)
      throw NbdEnd{"it sends an option of " + std::to_string(size) + " bytes"};
    std::string data(size, '\0');
    stream_.read(data.data(), size);
    option(number, data);
  }
  return agreed_;
}

void NbdHandshake::option(uint32_t number, const std::string& data) {
  switch (number) {
    case kOptExportName:
      return export_name(data);
    case kOptAbort:
      reply(number, kRepAck);
      throw NbdEnd{"the client left"};
    case kOptList:
      return list(data);
    case kOptInfo:
    case kOptGo:
      return info(number, data);
    case kOptStructuredReply:
      if (!data.empty()) return refuse(number, kRepErrInvalid, "this option has no data");
      agreed_.structured = true;
      return reply(number, kRepAck);
    case kOptListMetaContext:
    case kOptSetMetaContext:
      return meta_context(number, data);
    default:
      return refuse(number, kRepErrUnsupported, "this server does not know the option");
  }
}

void NbdHandshake::reply(uint32_t option, uint32_t type, std::string_view data) {
  NbdMessage()
      .u64(kOptionReplyMagic)
      .u32(option)
      .u32(type)
      .u32(static_cast<uint32_t>(data.size()))
      .text(data)
      .send(stream_);
}

void NbdHandshake::refuse(uint32_t option, uint32_t error, std::string_view why) {
  reply(option, error, why);
}

const NbdExport* NbdHandshake::find(std::string_view name) const {
  const auto found = std::find_if(exports_.begin(), exports_.end(),
                                  [&](const NbdExport& one) { return one.name == name; });
  return found == exports_.end() ? nullptr : &*found;
}

// No TRIM: a guest's tools trim free space, and each trimmed block would count as changed.
uint16_t NbdHandshake::flags_of(const NbdExport& one) const {
  unsigned flags = kHasFlags | kSendFlush;
  if (one.shared) flags |= kCanMultiConn;
  flags |= one.disk->writable() ? kSendFua | kSendWriteZeroes : kReadOnly;
  if (agreed_.structured) flags |= kSendDf;
  return static_cast<uint16_t>(flags);
}

void NbdHandshake::choose(const NbdExport& one) {
  agreed_.chosen = &one;
  agreed_.allocation = agreed_.structured && context_of_ == one.name;
  done_ = true;
}

void NbdHandshake::export_name(const std::string& data) {
  const NbdExport* one = find(data);
  // The protocol has no other answer for it.
  if (one == nullptr) throw NbdEnd{"it asks for an export that is not there"};
  NbdMessage message;
  message.u64(one->disk->length()).u16(flags_of(*one));
  if (!no_zeroes_) message.zeros(124);
  message.send(stream_);
  choose(*one);
}

void NbdHandshake::list(const std::string& data) {
  if (!data.empty()) return refuse(kOptList, kRepErrInvalid, "this option has no data");
  for (const NbdExport& one : exports_)
    reply(kOptList, kRepServer,
          NbdMessage()
              .u32(static_cast<uint32_t>(one.name.size()))
              .text(one.name)
              .text(one.description)
              .bytes());
  reply(kOptList, kRepAck);
}

void NbdHandshake::info(uint32_t number, const std::string& data) {
  OptionReader reader(data);
  const std::string_view name = reader.text();
  const uint64_t wanted = reader.number(2);
  bool wants_name = false, wants_description = false;
  for (uint64_t i = 0; i < wanted && !reader.bad(); ++i) {
    const uint64_t item = reader.number(2);
    wants_name = wants_name || item == kInfoName;
    wants_description = wants_description || item == kInfoDescription;
  }
  if (!reader.ended()) return refuse(number, kRepErrInvalid, "the option's data is malformed");
  const NbdExport* one = find(name);
  if (one == nullptr) return refuse(number, kRepErrUnknown, "there is no export of that name");
  reply(number, kRepInfo,
        NbdMessage().u16(kInfoExport).u64(one->disk->length()).u16(flags_of(*one)).bytes());
  reply(number, kRepInfo,
        NbdMessage().u16(kInfoBlockSize).u32(1).u32(64 << 10).u32(kLongestPayload).bytes());
  if (wants_name) reply(number, kRepInfo, NbdMessage().u16(kInfoName).text(one->name).bytes());
  if (wants_description && !one->description.empty())
    reply(number, kRepInfo, NbdMessage().u16(kInfoDescription).text(one->description).bytes());
  reply(number, kRepAck);
  if (number == kOptGo) choose(*one);
}

void NbdHandshake::meta_context(uint32_t number, const std::string& data) {
  OptionReader reader(data);
  const std::string name(reader.text());
  const uint64_t queries = reader.number(4);
  const bool list = number == kOptListMetaContext;
  if (!list) context_of_.reset();  // replaced, or not chosen at all
  bool allocation = list && queries == 0;
  for (uint64_t i = 0; i < queries && !reader.bad(); ++i) {
    const std::string_view query = reader.text();
    allocation = allocation || query == kAllocation || (list && query == "base:");
  }
  if (!reader.ended()) return refuse(number, kRepErrInvalid, "the option's data is malformed");
  if (!agreed_.structured)
    return refuse(number, kRepErrInvalid, "structured replies are agreed on first");
  if (find(name) == nullptr)
    return refuse(number, kRepErrUnknown, "there is no export of that name");
  if (allocation) {
    reply(number, kRepMetaContext, NbdMessage().u32(kAllocationContext).text(kAllocation).bytes());
    if (!list) context_of_ = name;
  }
  reply(number, kRepAck);
}

}  // namespace hyperhost
