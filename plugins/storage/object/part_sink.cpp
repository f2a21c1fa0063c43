// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/object/part_sink.hpp"

#include <cstring>
#include <nlohmann/json.hpp>

namespace hyper::object {

using nlohmann::json;

namespace {
bool all_zero(std::string_view bytes) {
  return bytes.front() == '\0' &&
         std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}
}  // namespace

PartSink::PartSink(std::shared_ptr<Service> service, PutSpec spec, RetryPolicy policy,
                   unsigned parallel, std::optional<UploadRecord> left, uint64_t presign_seconds,
                   std::optional<ObjectInfo> existing)
    : service_(std::move(service)),
      spec_(std::move(spec)),
      policy_(policy),
      parallel_(parallel),
      presign_seconds_(presign_seconds),
      existing_(std::move(existing)),
      record_(std::move(left)) {}

PartSink::~PartSink() {
  close(Op(nullptr));
}

void PartSink::take_up(Op op) {
  if (!record_) return;
  std::optional<Parts> parts;
  if (!record_->upload().is_null())
    parts = with_retries(op, policy_, "looking for an unfinished upload of " + shown(),
                         [&](unsigned) { return service_->parts(op, spec_, record_->upload()); });
  if (!parts || existing_) {
    // Killed before it had a name, or gone in the meantime.
    with_retries(op, policy_, "cleaning up " + shown(), [&](unsigned) {
      service_->abort(op, spec_.key, record_->upload(), record_->began());
    });
    record_->close(op);
    record_.reset();
    return;
  }
  upload_ = record_->upload();
  there_ = std::move(*parts);
  zeros_made_ = upload_.contains("zeros");
  begun_ = true;
  op.info("resumes an unfinished upload of " + shown() + ": " + std::to_string(there_.size()) +
          " parts are there");
}

SinkTraits PartSink::traits() const {
  SinkTraits traits;
  traits.flags = HYPER_SINK_PARTS;
  traits.part_size = spec_.part_size;
  traits.max_parallel = parallel_;
  return traits;
}

void PartSink::begin(Op op) {
  if (begun_) return;
  const std::lock_guard lock(begin_mutex_);
  if (begun_) return;
  if (refused_) throw *refused_;  // other writers wait for the same answer
  if (!record_) record_.emplace(op, *service_, spec_, service_->name_upload(spec_));
  try {
    upload_ = with_retries(op, policy_, "beginning the upload of " + shown(),
                           [&](unsigned) { return service_->begin(op, spec_, record_->upload()); });
  } catch (const Error& error) {
    refused_ = error;
    throw;
  }
  // In the journal before there is such an object.
  if (const std::string zeros = service_->zeros_key(spec_); !zeros.empty())
    upload_["zeros"] = zeros;
  record_->set_upload(op, upload_);
  begun_ = true;
}

void PartSink::write_at(Op op, uint64_t offset, const void* buf, uint64_t len) {
  if (len == 0) return;
  if (offset % spec_.part_size != 0 || len > spec_.part_size)
    throw Error(HYPER_FAIL, "a write to " + shown() + " is not a part");
  const uint64_t index = offset / spec_.part_size;
  const Limits limits = service_->limits();
  if (index >= limits.max_parts)
    throw Error(HYPER_NOSPACE, shown() + " would have more than " +
                                   std::to_string(limits.max_parts) + " parts of " +
                                   std::to_string(spec_.part_size) + " bytes")
        .hint("set a larger part_size in the plan's storage options");
  const std::string_view bytes(static_cast<const char*>(buf), static_cast<std::size_t>(len));
  if (index == 0 && len < spec_.part_size && !begun_) {  // shorter than a part: it is all there is
    whole_.emplace(bytes);
    return;
  }
  if (existing_) {
    Part part = service_->describe(bytes);
    const std::lock_guard lock(mutex_);
    parts_[index] = std::move(part);
    return;
  }
  begin(op);
  const auto had = there_.find(index);
  if (had != there_.end() && had->second.bytes == len && service_->same(had->second, bytes)) {
    const std::lock_guard lock(mutex_);
    ++kept_parts_;
    kept_bytes_ += len;
    parts_[index] = had->second;
    return;
  }
  std::optional<Part> part;
  if (len == spec_.part_size && all_zero(bytes)) part = copy_zeros(op, index, bytes);
  if (!part)
    part = with_retries(
        op, policy_, "part " + std::to_string(index + 1) + " of " + shown(),
        [&](unsigned) { return service_->put_part(op, spec_, upload_, index, bytes); });
  part->bytes = len;
  const std::lock_guard lock(mutex_);
  parts_[index] = std::move(*part);
}

/// REQUIRES: zeros_mutex_ is held. False where there can be no such object.
bool PartSink::put_zeros(Op op, const std::string& key, std::string_view zeros) {
  PutSpec spec;
  spec.key = key;
  spec.overwrite = true;
  spec.content_type = spec_.content_type;
  zeros_made_ = true;
  try {
    with_retries(op, policy_, "writing " + service_->location(key),
                 [&](unsigned) { return service_->put(op, spec, zeros); });
  } catch (const Error& error) {
    op.debug(std::string("zeros are sent, since no object of them can be made: ") + error.what());
    no_copies_ = true;
    return false;
  }
  zeros_ = service_->describe(zeros);
  return true;
}

/// A sparse disk's zeros are sent once: the store copies them from then on. Nothing for the first
/// part of zeros, which may be the only one, and where the store does not copy.
std::optional<Part> PartSink::copy_zeros(Op op, uint64_t index, std::string_view zeros) {
  const auto key = upload_.find("zeros");
  if (key == upload_.end() || !key->is_string()) return std::nullopt;
  std::optional<Part> content;
  {
    const std::lock_guard lock(zeros_mutex_);
    if (no_copies_ || ++zero_parts_ == 1) return std::nullopt;
    if (!zeros_ && !put_zeros(op, key->get<std::string>(), zeros)) return std::nullopt;
    content = zeros_;
  }
  auto part = with_retries(
      op, policy_, "part " + std::to_string(index + 1) + " of " + shown(), [&](unsigned) {
        return service_->copy_part(op, spec_, upload_, index, key->get<std::string>(), *content);
      });
  if (part) return part;
  const std::lock_guard lock(zeros_mutex_);
  if (!std::exchange(no_copies_, true))
    op.debug(service_->where() + " does not copy parts: zeros are sent");
  return std::nullopt;
}

void PartSink::check_parts(uint64_t length) const {
  uint64_t next = 0, bytes = 0;
  for (const auto& [index, part] : parts_) {
    const bool last = index + 1 == parts_.size();
    if (index != next++ || (!last && part.bytes != spec_.part_size))
      throw Error(HYPER_FAIL, "part " + std::to_string(next) + " of " + shown() + " is missing");
    bytes += part.bytes;
  }
  if (bytes != length)
    throw Error(HYPER_FAIL, shown() + " got " + std::to_string(bytes) + " bytes instead of " +
                                std::to_string(length));
}

/// Whether the object that is there is made of the parts that were written.
bool PartSink::made_of_parts(Op op, const ObjectInfo& there, uint64_t length) {
  if (there.bytes != length) return false;
  if (service_->describes_content(there)) return service_->made_of(there, parts_, length);
  op.info(shown() + " is read and compared: the server keeps no checksum of it");
  std::string bytes;
  for (const auto& [index, part] : parts_) {
    bytes.resize(static_cast<std::size_t>(part.bytes));
    const uint64_t offset = index * spec_.part_size;
    with_retries(op, policy_, "reading " + shown(),
                 [&](unsigned) { service_->read(op, there, offset, bytes.data(), bytes.size()); });
    if (!service_->same(part, bytes)) return false;
  }
  return true;
}

/// The object that was there before, if it is what was written here.
ObjectInfo PartSink::adopt(Op op, uint64_t length) {
  bool same = existing_->bytes == length;
  if (same && parts_.empty()) {
    const std::string bytes = whole_.value_or("");
    std::string there(bytes.size(), '\0');
    if (!bytes.empty())
      with_retries(op, policy_, "reading " + shown(), [&](unsigned) {
        service_->read(op, *existing_, 0, there.data(), there.size());
      });
    same = bytes.size() == length && there == bytes;
  } else if (same) {
    check_parts(length);
    same = made_of_parts(op, *existing_, length);
  }
  if (!same)
    throw Error(HYPER_EXISTS, shown() + " exists and is another")
        .hint("allow overwriting (upload: {overwrite: true}), choose another prefix, or remove it");
  op.info(shown() + " is there already, the same: nothing was sent");
  kept_parts_ = parts_.size();
  kept_bytes_ = length;
  return *existing_;
}

ObjectInfo PartSink::put_whole(Op op, std::string_view bytes) {
  return with_retries(op, policy_, "writing " + shown(), [&](unsigned) {
    try {
      return service_->put(op, spec_, bytes);
    } catch (const Error& error) {
      if (error.status() == HYPER_EXISTS) {  // an earlier attempt may have succeeded
        const auto there = service_->head(op, spec_.key);
        if (there && there->bytes == bytes.size()) {
          std::string read(bytes.size(), '\0');
          if (!read.empty()) service_->read(op, *there, 0, read.data(), read.size());
          if (read == bytes) return *there;
        }
      }
      throw;
    }
  });
}

ObjectInfo PartSink::finish(Op op, uint64_t length) {
  return with_retries(op, policy_, "completing " + shown(), [&](unsigned) {
    try {
      return service_->finish(op, spec_, upload_, parts_, length);
    } catch (const Error& error) {
      // The answer to an attempt that succeeded may have been lost: the upload is gone then, or
      // the object is in the way of itself. The first attempt here need not be the first that the
      // server sees: libcurl repeats a request by itself where a kept connection breaks off.
      if (error.status() == HYPER_EXISTS || error.status() == HYPER_NOTFOUND) {
        const auto there = service_->head(op, spec_.key);
        if (there && made_of_parts(op, *there, length)) return *there;
      }
      throw;
    }
  });
}

std::string PartSink::commit(Op op, uint64_t length) {
  if (committed_) throw Error(HYPER_FAIL, shown() + " is committed already");
  op.check_cancelled();
  ObjectInfo made;
  if (existing_) {
    made = adopt(op, length);
  } else if (!begun_) {
    if ((whole_ ? whole_->size() : 0) != length)
      throw Error(HYPER_FAIL, shown() + " got " + std::to_string(whole_ ? whole_->size() : 0) +
                                  " bytes instead of " + std::to_string(length));
    made = put_whole(op, whole_ ? std::string_view(*whole_) : std::string_view());
  } else {
    check_parts(length);
    made = finish(op, length);
  }
  committed_ = true;
  if (record_) settle(op);
  if (made.bytes != length)
    throw Error(HYPER_CORRUPT, shown() + " has " + std::to_string(made.bytes) +
                                   " bytes at the server instead of " + std::to_string(length));
  json out = {{"location", shown()}, {"bytes", length}};
  if (!made.checksum.empty()) out["checksum"] = made.checksum;
  if (!made.etag.empty()) out["etag"] = made.etag;
  if (kept_parts_ != 0) out["resumed"] = {{"parts", kept_parts_}, {"bytes", kept_bytes_}};
  if (existing_) out["adopted"] = true;
  if (presign_seconds_ != 0) out["url"] = service_->presign(spec_.key, presign_seconds_);
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

/// The object is there: what remains to remove is temporary objects, where the store has such.
void PartSink::settle(Op op) {
  try {
    if (service_->leaves_parts() || zeros_made_)
      with_retries(op, policy_, "removing the parts of " + shown(),
                   [&](unsigned) { service_->abort(op, spec_.key, upload_, record_->began()); });
    record_->close(op);
  } catch (const Error& error) {  // the object is whole all the same
    op.warn(Error(error.status(), "parts of " + shown() + " are left beside it", error.what())
                .hint("hyperhost cleanup removes them"));
  }
}

void PartSink::close(Op op) {
  if (committed_) return;
  abandon(op);
  record_.reset();
}

/// Short: what cannot be reached now stays in the journal, for cleanup.
void PartSink::abandon(Op op) noexcept {
  if (!record_) return;
  RetryPolicy brief;
  brief.attempts = 2;
  try {
    with_retries(op, brief, "aborting " + shown(), [&](unsigned) {
      service_->abort(op, spec_.key, record_->upload(), record_->began());
    });
    record_->close(op);
  } catch (const Error& error) {
    op.report(
        Error(error.status(), "an unfinished upload of " + shown() + " may be left", error.what())
            .hint("hyperhost cleanup removes it"),
        HYPER_SEVERITY_WARNING);
  } catch (const std::exception&) {  // the journal has it
    return;
  }
}

}  // namespace hyper::object
