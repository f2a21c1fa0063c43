// SPDX-License-Identifier: Apache-2.0
// Block blobs: parts are blocks, whose names carry their number and MD5 (checked by the server), so
// that its list of uncommitted blocks says what each holds. Thread-safe.
#ifndef HYPERHOST_AZURE_BLOCK_BLOBS_HPP
#define HYPERHOST_AZURE_BLOCK_BLOBS_HPP

#include "plugins/storage/azure-blob/azure_service.hpp"

namespace hyper::azure {

class BlockBlobs final : public AzureService {
 public:
  using AzureService::AzureService;
  Limits limits() const override;
  ObjectInfo put(Op op, const PutSpec& spec, std::string_view bytes) override;
  nlohmann::json begin(Op op, const PutSpec& spec, const nlohmann::json& name) override;
  std::optional<Parts> parts(Op op, const PutSpec& spec, const nlohmann::json& upload) override;
  Part put_part(Op op, const PutSpec& spec, const nlohmann::json& upload, uint64_t index,
                std::string_view bytes) override;
  Part describe(std::string_view bytes) override;
  bool same(const Part& part, std::string_view bytes) override;
  ObjectInfo finish(Op op, const PutSpec& spec, const nlohmann::json& upload, const Parts& parts,
                    uint64_t length) override;
  bool made_of(const ObjectInfo& object, const Parts& parts, uint64_t length) override;
  void abort(Op op, const std::string& key, const nlohmann::json& upload,
             const std::string& began) override;
};

}  // namespace hyper::azure

#endif
