// SPDX-License-Identifier: Apache-2.0
// The S3 protocol: what AWS and its compatibles (and Google's XML API) speak. Each part carries its
// SHA-256, in the signature and as a checksum that the server keeps, so a part that changed on the
// way is refused there and one that is there already is recognised. Thread-safe.
#ifndef HYPERHOST_S3_S3_SERVICE_HPP
#define HYPERHOST_S3_S3_SERVICE_HPP

#include <atomic>
#include <memory>

#include "plugins/http/client.hpp"
#include "plugins/storage/object/service.hpp"
#include "plugins/storage/s3/credentials.hpp"

namespace hyper::s3 {

using object::Limits;
using object::ObjectInfo;
using object::Part;
using object::Parts;
using object::PutSpec;

struct Settings {
  std::string plugin = "s3", scheme = "s3";
  std::string endpoint;  ///< "https://host[:port]"
  std::string bucket, region;
  bool path_style = false;
  bool checksums = true;   ///< the server keeps SHA-256 checksums of parts
  object::Fields headers;  ///< of every object: storage class, encryption, tags
  uint64_t max_object = uint64_t{5} << 40;
  http::Settings http;
};

class S3Service final : public object::Service {
 public:
  S3Service(Settings settings, std::shared_ptr<CredentialChain> credentials);

  std::string plugin() const override { return settings_.plugin; }
  std::string where() const override;
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
  nlohmann::json begin(Op op, const PutSpec& spec, const nlohmann::json& name) override;
  std::optional<Parts> parts(Op op, const PutSpec& spec, const nlohmann::json& upload) override;
  Part put_part(Op op, const PutSpec& spec, const nlohmann::json& upload, uint64_t index,
                std::string_view bytes) override;
  std::string zeros_key(const PutSpec& spec) const override;
  std::optional<Part> copy_part(Op op, const PutSpec& spec, const nlohmann::json& upload,
                                uint64_t index, const std::string& from,
                                const Part& content) override;
  Part describe(std::string_view bytes) override;
  bool same(const Part& part, std::string_view bytes) override;
  ObjectInfo finish(Op op, const PutSpec& spec, const nlohmann::json& upload, const Parts& parts,
                    uint64_t length) override;
  bool made_of(const ObjectInfo& object, const Parts& parts, uint64_t length) override;
  bool describes_content(const ObjectInfo& object) const override;
  void abort(Op op, const std::string& key, const nlohmann::json& upload,
             const std::string& began) override;

 private:
  struct Call {
    std::string method, key;  ///< key "" = the bucket
    object::Fields query, headers;
    std::string_view body;
    bool throttled = false;
    bool slow = false;  ///< the server has work to do before it answers
  };
  http::Request request(const Call& call, const AwsCredentials& credentials,
                        const std::string& payload_sha256) const;
  http::Response send(Op op, const Call& call, const std::string& payload_sha256 = {});
  /// send(), and an Error for an answer that is no success.
  http::Response ask(Op op, const Call& call, const std::string& what,
                     const std::string& payload_sha256 = {});
  Error failure(const std::string& what, const http::Response& answer) const;
  object::Fields object_headers(const PutSpec& spec) const;
  void remove_made(Op op, const std::string& key, const http::Response& answer);
  void remove_all_versions(Op op, const std::string& key);
  void abort_unnamed(Op op, const std::string& key, const std::string& began);
  std::string shown(const std::string& key) const;

  const Settings settings_;
  std::string host_, base_path_;
  std::shared_ptr<CredentialChain> credentials_;
  http::Client client_;
  std::atomic<bool> conditional_{true};  // If-None-Match on writes; not every compatible has it
};

}  // namespace hyper::s3

#endif
