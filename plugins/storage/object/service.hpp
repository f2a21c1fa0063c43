// SPDX-License-Identifier: Apache-2.0
// What an object store's protocol must give so that ObjectStorage and PartSink can do the rest:
// single requests, each tried once. Failures are hyper::Error with `retryable` where trying again
// may help. Keys are whole (with the plan's prefix). Thread-safe.
#ifndef HYPERHOST_OBJECT_SERVICE_HPP
#define HYPERHOST_OBJECT_SERVICE_HPP

#include <cstdint>
#include <functional>
#include <hyper/op.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace hyper::object {

struct Limits {
  uint64_t min_part = 0, max_part = 0;  ///< bytes; min_part not for the last one
  uint64_t max_parts = 0;
  uint64_t max_object = 0;
  uint64_t part_multiple = 1;  ///< parts but the last are multiples of it
  uint64_t fixed_part = 0;     ///< not 0: every part has this size, whatever the plan says
};

struct ObjectInfo {
  std::string key;
  uint64_t bytes = 0;
  std::string modified;  ///< RFC 3339, or as the server says it
  std::string etag;
  std::string checksum;  ///< "sha256:<hex>", "sha256-parts:<base64>-N", "md5:…", "crc32c:…", or ""
  uint64_t part_size = 0;  ///< of the upload that made it, where it says so; 0 = not known
};

/// The properties of an object to be written.
struct PutSpec {
  std::string key;
  uint64_t expected_bytes = 0;  ///< a guess; 0 = unknown
  uint64_t part_size = 0;
  bool overwrite = false;
  std::string content_type;
  std::map<std::string, std::string> metadata;
};

/// A part that the server has.
struct Part {
  uint64_t bytes = 0;
  std::string etag;
  std::string digest;  ///< of its bytes, in the service's own terms; "" = not known
};
using Parts = std::map<uint64_t, Part>;  ///< by index, from 0

class Service {
 public:
  virtual ~Service() = default;

  virtual std::string plugin() const = 0;
  /// The place as the journal knows it: endpoint and bucket, without secrets.
  virtual std::string where() const = 0;
  virtual std::string location(const std::string& key) const = 0;
  virtual Limits limits() const = 0;

  /// The place is there and lets us in. Changes nothing.
  virtual void check(Op op) = 0;
  virtual std::optional<ObjectInfo> head(Op op, const std::string& key) = 0;
  /// Exactly these bytes of the version that head() described.
  virtual void read(Op op, const ObjectInfo& object, uint64_t offset, void* buf, uint64_t len) = 0;
  virtual void list(Op op, const std::string& prefix,
                    const std::function<void(const ObjectInfo&)>& on_object) = 0;
  /// HYPER_NOTFOUND where there is none.
  virtual void remove(Op op, const std::string& key) = 0;
  /// A URL whose holder can read the object, for this time.
  virtual std::string presign(const std::string& key, uint64_t seconds) = 0;

  /// A whole object in one request. HYPER_EXISTS where it is there and overwrite is false.
  virtual ObjectInfo put(Op op, const PutSpec& spec, std::string_view bytes) = 0;

  /// What an upload to be begun will be known by, as far as this side decides it: written to the
  /// journal before begin().
  virtual nlohmann::json name_upload(const PutSpec&) { return nullptr; }
  /// Begins an upload; returns what names it, JSON without secrets.
  virtual nlohmann::json begin(Op op, const PutSpec& spec, const nlohmann::json& name) = 0;
  /// What the server has of it; nothing where it has no such upload.
  virtual std::optional<Parts> parts(Op op, const PutSpec& spec, const nlohmann::json& upload) = 0;
  virtual Part put_part(Op op, const PutSpec& spec, const nlohmann::json& upload, uint64_t index,
                        std::string_view bytes) = 0;
  /// The key of an object of zeros, as long as a part, that copy_part() copies; "" = the store
  /// copies no parts. abort() removes it where upload has it as "zeros".
  virtual std::string zeros_key(const PutSpec&) const { return {}; }
  /// Makes a part of the object `from`, which holds what `content` describes, inside the store.
  /// Nothing where the store refuses, or does not prove what it copied.
  virtual std::optional<Part> copy_part(Op, const PutSpec&, const nlohmann::json&, uint64_t,
                                        const std::string&, const Part&) {
    return std::nullopt;
  }
  /// What put_part() would return for these bytes, without sending them.
  virtual Part describe(std::string_view bytes) = 0;
  /// Whether a part that the server has holds these bytes.
  virtual bool same(const Part& part, std::string_view bytes) = 0;
  /// Makes the object of its parts, which are all there. HYPER_EXISTS as for put().
  virtual ObjectInfo finish(Op op, const PutSpec& spec, const nlohmann::json& upload,
                            const Parts& parts, uint64_t length) = 0;
  /// After finish() the upload's passing objects are still there; abort() removes them.
  virtual bool leaves_parts() const { return false; }
  /// Whether the object that is there is what finish() would have made of these parts: asked when
  /// the answer to finish() was lost.
  virtual bool made_of(const ObjectInfo& object, const Parts& parts, uint64_t length) = 0;
  /// Whether the server's description of an object made of parts depends on its bytes in a way that
  /// made_of() knows. Where it does not, the object itself is read.
  virtual bool describes_content(const ObjectInfo&) const { return true; }
  /// Nothing is left of the upload afterwards; fine if nothing was. upload: as named or begun.
  /// began: RFC 3339, when this side wrote it down.
  virtual void abort(Op op, const std::string& key, const nlohmann::json& upload,
                     const std::string& began) = 0;
};

}  // namespace hyper::object

#endif
