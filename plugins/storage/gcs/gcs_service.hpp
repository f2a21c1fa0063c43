// SPDX-License-Identifier: Apache-2.0
// Google Cloud Storage's JSON API. A resumable upload there is one stream, in order; so that parts
// go up at once and in any order, each is an object of its own under a passing name (a resumable
// upload, checked by its CRC-32C), and the service composes them in the end. Thread-safe.
#ifndef HYPERHOST_GCS_GCS_SERVICE_HPP
#define HYPERHOST_GCS_GCS_SERVICE_HPP

#include <memory>
#include <vector>

#include "plugins/http/client.hpp"
#include "plugins/storage/gcs/google_auth.hpp"
#include "plugins/storage/object/service.hpp"
#include "plugins/storage/object/sigv4.hpp"

namespace hyper::gcs {

using object::Fields;
using object::Limits;
using object::ObjectInfo;
using object::Part;
using object::Parts;
using object::PutSpec;

struct Settings {
  std::string endpoint = "https://storage.googleapis.com";
  std::string bucket, storage_class, kms_key;
  http::Settings http;
};

class GcsService final : public object::Service {
 public:
  GcsService(Settings settings, std::unique_ptr<GoogleAuth> auth);

  std::string plugin() const override { return "gcs"; }
  std::string where() const override { return settings_.endpoint + "/" + settings_.bucket; }
  std::string location(const std::string& key) const override;
  Limits limits() const override;
  void check(Op op) override;
  std::optional<ObjectInfo> head(Op op, const std::string& key) override;
  void read(Op op, const ObjectInfo& object, uint64_t offset, void* buf, uint64_t len) override;
  void list(Op op, const std::string& prefix,
            const std::function<void(const ObjectInfo&)>& on_object) override;
  void remove(Op op, const std::string& key) override;
  std::string presign(const std::string& key, uint64_t seconds) override;
  ObjectInfo put(Op op, const PutSpec& spec, std::string_view bytes) override;
  nlohmann::json name_upload(const PutSpec& spec) override;
  nlohmann::json begin(Op op, const PutSpec& spec, const nlohmann::json& name) override;
  std::optional<Parts> parts(Op op, const PutSpec& spec, const nlohmann::json& upload) override;
  Part put_part(Op op, const PutSpec& spec, const nlohmann::json& upload, uint64_t index,
                std::string_view bytes) override;
  bool leaves_parts() const override { return true; }
  Part describe(std::string_view bytes) override;
  bool same(const Part& part, std::string_view bytes) override;
  ObjectInfo finish(Op op, const PutSpec& spec, const nlohmann::json& upload, const Parts& parts,
                    uint64_t length) override;
  bool made_of(const ObjectInfo& object, const Parts& parts, uint64_t length) override;
  void abort(Op op, const std::string& key, const nlohmann::json& upload,
             const std::string& began) override;

 private:
  struct Call {
    std::string method, url;
    Fields headers;
    std::string_view body;
    bool throttled = false;
    bool slow = false;  ///< the server has work to do before it answers
  };
  http::Response send(Op op, const Call& call);
  nlohmann::json ask(Op op, const Call& call, const std::string& what);
  Error failure(const std::string& what, const http::Response& answer);
  std::string bucket_url(const Fields& query = {}) const;
  std::string object_url(const std::string& key, const Fields& query = {}) const;
  /// Uploads an object in a resumable session; goes on within it when the connection breaks.
  ObjectInfo upload(Op op, const std::string& key, const nlohmann::json& resource, bool overwrite,
                    std::string_view bytes);
  ObjectInfo compose(Op op, const std::vector<std::string>& from, const std::string& key,
                     const nlohmann::json& resource, bool overwrite);
  nlohmann::json resource_of(const PutSpec& spec) const;
  void remove_all(Op op, const std::string& prefix);
  std::string shown(const std::string& key) const { return location(key); }

  const Settings settings_;
  const std::unique_ptr<GoogleAuth> auth_;
  http::Client client_;
};

}  // namespace hyper::gcs

#endif
