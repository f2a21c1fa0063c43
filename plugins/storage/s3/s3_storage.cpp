// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/s3/s3_storage.hpp"

#include "plugins/storage/object/http_options.hpp"
#include "plugins/storage/s3/s3_service.hpp"

namespace hyper::s3 {
namespace {

std::string tagging(const Doc& config) {
  const nlohmann::json tags = nlohmann::json::parse(config.json("/tags"));
  object::Fields fields;
  for (const auto& [name, value] : tags.items())
    fields.emplace_back(name, value.get<std::string>());
  if (fields.size() > 10)
    throw Error(HYPER_CONFIG, "an object in S3 has at most 10 tags").at("/tags");
  return object::encoded_query(fields);
}

object::Fields fixed_headers(const Doc& config) {
  object::Fields out;
  const auto add = [&](const char* option, const char* header) {
    if (const std::string value = config.string(option); !value.empty())
      out.emplace_back(header, value);
  };
  add("/storage_class", "x-amz-storage-class");
  add("/sse", "x-amz-server-side-encryption");
  add("/sse_kms_key_id", "x-amz-server-side-encryption-aws-kms-key-id");
  if (config.has("/tags")) out.emplace_back("x-amz-tagging", tagging(config));
  return out;
}

CredentialChain::Options credential_options(const Doc& config) {
  CredentialChain::Options out;
  out.given = {config.string("/access_key_id"), config.string("/secret_access_key"),
               config.string("/session_token"), 0, "the plan"};
  out.profile = config.string("/profile");
  out.anonymous = config.boolean("/anonymous");
  return out;
}

}  // namespace

void S3Storage::validate(const Doc& config, Op) {
  if (config.has("/access_key_id") != config.has("/secret_access_key"))
    throw Error(HYPER_CONFIG, "access_key_id and secret_access_key go together")
        .at("/access_key_id");
  if (config.has("/session_token") && !config.has("/access_key_id"))
    throw Error(HYPER_CONFIG, "a session_token goes with an access_key_id").at("/session_token");
  if (config.boolean("/anonymous") && (config.has("/access_key_id") || config.has("/profile")))
    throw Error(HYPER_CONFIG, "anonymous requests use no credentials").at("/anonymous");
  if (config.has("/sse_kms_key_id") && config.string("/sse").rfind("aws:kms", 0) != 0)
    throw Error(HYPER_CONFIG, "sse_kms_key_id goes with sse: aws:kms").at("/sse_kms_key_id");
  object::check_endpoint(config.string("/endpoint"), "/endpoint");
  object::read_store_settings(config);
  fixed_headers(config);
}

std::unique_ptr<S3Storage> S3Storage::connect(const Doc& config, Op op) {
  validate(config, op);
  auto chain = std::make_shared<CredentialChain>(credential_options(config));
  Settings settings;
  settings.bucket = config.string("/bucket");
  settings.region = config.string("/region");
  if (settings.region.empty()) settings.region = chain->region();
  if (settings.region.empty()) settings.region = "us-east-1";
  settings.endpoint = config.string("/endpoint");
  const bool aws = settings.endpoint.empty();
  if (aws) settings.endpoint = "https://s3." + settings.region + ".amazonaws.com";
  while (settings.endpoint.back() == '/') settings.endpoint.pop_back();
  // A name with dots is no name that the certificate *.s3.REGION.amazonaws.com covers.
  settings.path_style =
      config.boolean("/path_style", !aws || settings.bucket.find('.') != std::string::npos);
  settings.checksums = config.boolean("/checksums", true);
  settings.headers = fixed_headers(config);
  settings.http = object::read_http_settings(config);
  return std::make_unique<S3Storage>(
      std::make_shared<S3Service>(std::move(settings), std::move(chain)),
      object::read_store_settings(config));
}

}  // namespace hyper::s3
