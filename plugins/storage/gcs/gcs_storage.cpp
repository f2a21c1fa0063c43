// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/gcs/gcs_storage.hpp"

#include "plugins/storage/gcs/gcs_service.hpp"
#include "plugins/storage/object/http_options.hpp"
#include "plugins/storage/s3/s3_service.hpp"

namespace hyper::gcs {
namespace {

std::string endpoint_of(const Doc& config) {
  std::string endpoint = config.string("/endpoint", "https://storage.googleapis.com");
  while (endpoint.back() == '/') endpoint.pop_back();
  return endpoint;
}

std::shared_ptr<object::Service> xml_service(const Doc& config) {
  s3::Settings settings;
  settings.plugin = "gcs";
  settings.scheme = "gs";
  settings.endpoint = endpoint_of(config);
  settings.bucket = config.string("/bucket");
  settings.region = "auto";
  settings.path_style = true;
  settings.checksums = false;  // S3's checksum headers are not known there; ETags are MD5s
  if (const std::string name = config.string("/storage_class"); !name.empty())
    settings.headers.emplace_back("x-amz-storage-class", name);
  settings.http = object::read_http_settings(config);
  s3::CredentialChain::Options options;
  options.given = {config.string("/hmac_access_id"), config.string("/hmac_secret"), "", 0,
                   "the plan"};
  return std::make_shared<s3::S3Service>(std::move(settings),
                                         std::make_shared<s3::CredentialChain>(std::move(options)));
}

std::shared_ptr<object::Service> json_service(const Doc& config) {
  Settings settings;
  settings.endpoint = endpoint_of(config);
  settings.bucket = config.string("/bucket");
  settings.storage_class = config.string("/storage_class");
  settings.kms_key = config.string("/kms_key");
  settings.http = object::read_http_settings(config);
  auto auth = std::make_unique<GoogleAuth>(config.string("/credentials"),
                                           config.boolean("/anonymous"), settings.http);
  return std::make_shared<GcsService>(std::move(settings), std::move(auth));
}

}  // namespace

void GcsStorage::validate(const Doc& config, Op) {
  if (config.has("/hmac_access_id") != config.has("/hmac_secret"))
    throw Error(HYPER_CONFIG, "hmac_access_id and hmac_secret go together").at("/hmac_access_id");
  const int ways = (config.has("/hmac_access_id") ? 1 : 0) + (config.has("/credentials") ? 1 : 0) +
                   (config.boolean("/anonymous") ? 1 : 0);
  if (ways > 1)
    throw Error(HYPER_CONFIG, "credentials, an HMAC key and anonymous exclude each other")
        .at("/credentials");
  if (config.has("/hmac_access_id") && config.has("/kms_key"))
    throw Error(HYPER_CONFIG, "kms_key needs the JSON API")
        .hint("set credentials instead of the HMAC key")
        .at("/kms_key");
  object::check_endpoint(config.string("/endpoint"), "/endpoint");
  object::read_store_settings(config);
  if (config.has("/credentials")) GoogleAuth(config.string("/credentials"), false, {});
}

std::unique_ptr<GcsStorage> GcsStorage::connect(const Doc& config, Op op) {
  validate(config, op);
  return std::make_unique<GcsStorage>(
      config.has("/hmac_access_id") ? xml_service(config) : json_service(config),
      object::read_store_settings(config));
}

}  // namespace hyper::gcs
