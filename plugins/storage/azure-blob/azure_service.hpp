// SPDX-License-Identifier: Apache-2.0
// Azure Blob Storage's protocol as far as all kinds of blobs share it. Thread-safe.
#ifndef HYPERHOST_AZURE_AZURE_SERVICE_HPP
#define HYPERHOST_AZURE_AZURE_SERVICE_HPP

#include <memory>

#include "plugins/http/client.hpp"
#include "plugins/storage/azure-blob/azure_auth.hpp"
#include "plugins/storage/object/service.hpp"

namespace hyper::azure {

using object::Limits;
using object::ObjectInfo;
using object::Part;
using object::Parts;
using object::PutSpec;

struct Settings {
  Account account;
  std::string container;
  std::string tier, tags;  ///< of every blob; "" = the account's, none
  http::Settings http;
};

class AzureService : public object::Service {
 public:
  explicit AzureService(Settings settings);

  std::string plugin() const override { return "azure-blob"; }
  std::string where() const override;
  std::string location(const std::string& key) const override;
  void check(Op op) override;
  std::optional<ObjectInfo> head(Op op, const std::string& key) override;
  void read(Op op, const ObjectInfo& object, uint64_t offset, void* buf, uint64_t len) override;
  void list(Op op, const std::string& prefix,
            const std::function<void(const ObjectInfo&)>& on_object) override;
  void remove(Op op, const std::string& key) override;
  std::string presign(const std::string& key, uint64_t seconds) override;

 protected:
  struct Call {
    std::string method, key;  ///< key "" = the container
    Fields query, headers;
    std::string_view body;
    bool throttled = false;
    bool slow = false;  ///< the server has work to do before it answers
  };
  http::Response send(Op op, const Call& call);
  http::Response ask(Op op, const Call& call, const std::string& what);
  Error failure(const std::string& what, const http::Response& answer);
  http::Request request(const Call& call, const http::Cancel& cancel);
  /// Type, metadata, tier and tags of a new blob.
  Fields blob_headers(const PutSpec& spec) const;
  std::string url(const std::string& key) const;
  /// HYPER_EXISTS for the answer to a write that was not to overwrite.
  void refuse_existing(const http::Response& answer, const std::string& key) const;
  std::string shown(const std::string& key) const;
  /// The code in an answer's XML or header; "" where it has none.
  static std::string code_of(const http::Response& answer);

  const Settings settings_;
  http::Client client_;

 private:
  std::string base_path_, host_url_;
  std::unique_ptr<ManagedIdentity> identity_;
};

}  // namespace hyper::azure

#endif
