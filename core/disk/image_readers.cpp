// SPDX-License-Identifier: Apache-2.0
#include "core/disk/image_readers.hpp"

#include <algorithm>
#include <optional>

#include "core/disk/local_sources.hpp"

namespace hyperhost {
namespace {

/// Whether a source has those bytes. Sources of providers may want whole blocks.
bool has_bytes(const SourceHandle& source, const FormatSignature& signature, Operation& op) {
  const uint64_t length = source.length(), size = signature.bytes.size();
  if (length == HYPER_LENGTH_UNKNOWN) return false;
  const uint64_t distance =
      static_cast<uint64_t>(signature.offset < 0 ? -signature.offset : signature.offset);
  if (signature.offset < 0 ? distance > length : distance > length || size > length - distance)
    return false;
  const uint64_t begin = signature.offset < 0 ? length - distance : distance;
  const uint64_t block = std::max<uint64_t>(source.table().block_min, 1);
  const uint64_t from = begin / block * block;
  const uint64_t to = std::min(length, (begin + size + block - 1) / block * block);
  std::string bytes(to - from, '\0');
  source.read_at(op, from, bytes.data(), bytes.size());
  return bytes.compare(begin - from, size, signature.bytes) == 0;
}

}  // namespace

ImageReaders::ImageReaders(PluginRegistry& registry,
                           std::function<Options(const std::string&)> options)
    : registry_(registry), options_(std::move(options)), formats_(registry) {}

ImageReader ImageReaders::reader(const std::string& id) const {
  return ImageReader(registry_.load(id), options_(id));
}

/// One source, asked about in rounds: readers that know one of its signatures, readers whose
/// manifest does not say, readers of what has no signature.
class ImageReaders::Detection {
 public:
  Detection(const ImageReaders& readers, const SourceHandle& source, Operation& op)
      : readers_(readers), source_(source), op_(op) {
    for (const std::string& id : readers.registry_.ids_with(HYPER_IFACE_IMAGE))
      ids_.push_back({id, &offers_of(readers.registry_, id)});
  }

  std::string run() {
    for (const auto& [id, offers] : ids_)
      if (signed_by(*offers) && ask(id, *offers)) return format_;
    if (!not_started_.empty())
      throw Error(Code::kUnsupported, "the reader of this image does not start", not_started_,
                  "make the plugin work, or state the source's format");
    for (const auto& [id, offers] : ids_)
      if (!offers->formats && ask(id, *offers)) return format_;
    // A reader that looked for its signature's format and found none has answered already.
    if (!plain_.empty()) return plain_;
    for (const auto& [id, offers] : ids_)
      if (plain(*offers) && !asked_.contains(id)) {
        if (ask(id, *offers)) return format_;
        if (!plain_.empty()) return plain_;
      }
    return {};
  }

 private:
  /// Whether the source has a signature of a format that this plugin reads and that no reader has
  /// looked for and denied.
  bool signed_by(const Offers& offers) const {
    if (!offers.formats) return false;
    return std::any_of(offers.formats->begin(), offers.formats->end(), [&](const auto& format) {
      return format.read && !denied_.contains(readers_.formats_.canonical(format.name)) &&
             std::any_of(format.signatures.begin(), format.signatures.end(),
                         [&](const auto& one) { return has_bytes(source_, one, op_); });
    });
  }

  static bool plain(const Offers& offers) {
    return offers.formats &&
           std::any_of(offers.formats->begin(), offers.formats->end(),
                       [](const auto& one) { return one.read && one.signatures.empty(); });
  }

  /// True: the plugin knows it, format_ is what it said. An answer without a signature is kept as
  /// the last resort.
  bool ask(const std::string& id, const Offers& offers) {
    asked_.insert(id);
    std::optional<ImageReader> reader;
    try {
      reader.emplace(readers_.reader(id));
    } catch (const Error& failure) {
      if (signed_by(offers)) not_started_ = failure.what();
      return false;
    }
    const nlohmann::json answer = reader->probe(op_, source_);
    if (!answer.is_object()) return false;
    const auto format = answer.find("format");
    if (format == answer.end() || !format->is_string()) return false;
    format_ = readers_.formats_.canonical(format->get<std::string>());
    if (!readers_.formats_.is_plain(format_)) return true;
    if (plain_.empty()) plain_ = format_;
    // It has looked: four bytes of a guest are no image. Another plugin with the same formats and
    // less care is not asked about them.
    if (offers.formats)
      for (const ImageFormat& one : *offers.formats)
        if (one.read) denied_.insert(readers_.formats_.canonical(one.name));
    return false;
  }

  const ImageReaders& readers_;
  const SourceHandle& source_;
  Operation& op_;
  std::vector<std::pair<std::string, const Offers*>> ids_;
  std::set<std::string> asked_, denied_;
  std::string format_, plain_, not_started_;
};

std::string ImageReaders::detect(const SourceHandle& source, const std::string& name,
                                 Operation& op) const {
  std::string format = Detection(*this, source, op).run();
  if (format.empty())
    throw Error(Code::kUnsupported, name + " is no disk image that any plugin here reads");
  return format;
}

std::vector<std::string> ImageReaders::candidates(const std::string& format,
                                                  const ReaderChoice& choice) const {
  std::vector<std::string> listed, unsaid;
  for (const std::string& id : registry_.ids_with(HYPER_IFACE_IMAGE)) {
    const std::optional<bool> reads = offers_of(registry_, id).reads(format);
    if (id == plugin_id(choice.except) || !reads.value_or(true)) continue;
    if (id == plugin_id(choice.first))
      listed.insert(listed.begin(), id);
    else
      (reads ? listed : unsaid).push_back(id);
  }
  listed.insert(listed.end(), unsaid.begin(), unsaid.end());
  return listed;
}

std::unique_ptr<SourceHandle> ImageReaders::open(const std::shared_ptr<SourceHandle>& file,
                                                 const std::string& format,
                                                 const ReaderChoice& choice, Operation& op,
                                                 std::string& used) const {
  const std::string known = format.empty() ? detect(*file, "the image", op) : format;
  std::string tried;
  for (const std::string& id : candidates(known, choice)) {
    const auto note = [&](const Error& failure) {
      tried += (tried.empty() ? "" : "; ") + id + ": " + failure.what();
    };
    std::optional<ImageReader> one;
    try {
      one.emplace(reader(id));
    } catch (const Error& failure) {
      // A reader that does not start is one reader less, unless the caller asked for this one.
      if (id == plugin_id(choice.first)) throw;
      note(failure);
      continue;
    }
    try {
      auto image = one->open(op, file, known);
      used = id;
      return image;
    } catch (const Error& failure) {
      if (failure.code() != Code::kUnsupported) throw;
      note(failure);
    }
  }
  throw Error(Code::kUnsupported,
              "no plugin can read this " + known + " image" +
                  (choice.except.empty() ? "" : " besides '" + plugin_id(choice.except) + "'"),
              tried.empty() ? "no other plugin's manifest lists " + known : tried);
}

std::string ImageReaders::decoder_for(const std::string& converter,
                                      const std::string& format) const {
  if (format.empty() || offers_of(registry_, converter).reads(format).value_or(true)) return {};
  for (const std::string& id : registry_.ids_with(HYPER_IFACE_IMAGE))
    if (offers_of(registry_, id).reads(format).value_or(false)) return id;
  return {};
}

void ImageReaders::require_independent(const std::string& converter, const std::string& format,
                                       Operation& op) const {
  // One that works either reads a blank disk or says that it reads files only.
  const std::shared_ptr<SourceHandle> blank = open_blank_source(1u << 20);
  std::string why;
  for (const std::string& id : candidates(format, {"", converter})) {
    std::optional<ImageReader> one;
    try {
      one.emplace(reader(id));
    } catch (const Error& failure) {
      if (why.empty()) why = id + ": " + failure.what();
      continue;
    }
    try {
      static_cast<void>(one->open(op, blank, "raw"));
    } catch (const Error& failure) {
      if (failure.code() != Code::kUnsupported) throw;
    }
    return;
  }
  throw Error(Code::kUnsupported,
              "verify: independent needs another plugin than '" + plugin_id(converter) +
                  "' that reads " + format + " images, and there is none",
              why, "set verify: target");
}

}  // namespace hyperhost
