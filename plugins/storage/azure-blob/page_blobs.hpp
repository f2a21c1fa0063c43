// SPDX-License-Identifier: Apache-2.0
// Page blobs, which virtual machines boot from (a fixed VHD). Their pages are visible as soon as
// they are written, so a blob under another name is written, and copied inside the service to its
// own at the end. Zeros are not sent. What a killed run left is not resumed: the service keeps no
// checksum of pages. Thread-safe.
#ifndef HYPERHOST_AZURE_PAGE_BLOBS_HPP
#define HYPERHOST_AZURE_PAGE_BLOBS_HPP

#include "plugins/storage/azure-blob/azure_service.hpp"

namespace hyper::azure {

class PageBlobs final : public AzureService {
 public:
  using AzureService::AzureService;
  Limits limits() const override;
  ObjectInfo put(Op op, const PutSpec& spec, std::string_view bytes) override;
  nlohmann::json name_upload(const PutSpec& spec) override;
  nlohmann::json begin(Op op, const PutSpec& spec, const nlohmann::json& name) override;
  std::optional<Parts> parts(Op op, const PutSpec& spec, const nlohmann::json& upload) override;
  Part put_part(Op op, const PutSpec& spec, const nlohmann::json& upload, uint64_t index,
                std::string_view bytes) override;
  bool leaves_parts() const override { return true; }
  Part describe(std::string_view bytes) override;
  bool same(const Part&, std::string_view) override { return false; }
  ObjectInfo finish(Op op, const PutSpec& spec, const nlohmann::json& upload, const Parts& parts,
                    uint64_t length) override;
  bool made_of(const ObjectInfo& object, const Parts& parts, uint64_t length) override;
  void abort(Op op, const std::string& key, const nlohmann::json& upload,
             const std::string& began) override;

 private:
  void make(Op op, const PutSpec& spec, const std::string& name, uint64_t bytes);
};

}  // namespace hyper::azure

#endif
