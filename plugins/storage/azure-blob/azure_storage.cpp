// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/azure-blob/azure_storage.hpp"

#include "plugins/storage/azure-blob/block_blobs.hpp"
#include "plugins/storage/azure-blob/page_blobs.hpp"
#include "plugins/storage/object/digest.hpp"
#include "plugins/storage/object/http_options.hpp"

namespace hyper::azure {
namespace {

Account read_account(const Doc& config) {
  if (const std::string text = config.string("/connection_string"); !text.empty())
    return parse_connection_string(text);
  Account account;
  account.name = config.string("/account");
  account.client_id = config.string("/client_id");
  if (const std::string key = config.string("/key"); !key.empty()) {
    const auto raw = object::from_base64(key);
    if (!raw) throw Error(HYPER_CONFIG, "the account's key is not base64").at("/key");
    account.key = *raw;
  }
  account.sas = config.string("/sas");
  if (!account.sas.empty() && account.sas.front() == '?') account.sas.erase(0, 1);
  account.endpoint = config.string("/endpoint");
  if (account.endpoint.empty())
    account.endpoint = "https://" + account.name + ".blob.core.windows.net";
  return account;
}

std::string tags_of(const Doc& config) {
  if (!config.has("/tags")) return {};
  const auto tags = nlohmann::json::parse(config.json("/tags"));
  object::Fields fields;
  for (const auto& [name, value] : tags.items())
    fields.emplace_back(name, value.get<std::string>());
  return object::encoded_query(fields);
}

}  // namespace

void AzureStorage::validate(const Doc& config, Op) {
  const bool whole = config.has("/connection_string");
  for (const char* option : {"/account", "/key", "/sas", "/endpoint", "/client_id"})
    if (whole && config.has(option))
      throw Error(HYPER_CONFIG, "a connection_string says everything by itself").at(option);
  if (!whole && !config.has("/account"))
    throw Error(HYPER_CONFIG, "the storage account is not given")
        .hint("set account, or connection_string: {env: NAME}")
        .at("/account");
  if (config.has("/key") && config.has("/sas"))
    throw Error(HYPER_CONFIG, "key and sas exclude each other").at("/sas");
  if (config.string("/blob_type") == "page" && config.has("/access_tier"))
    throw Error(HYPER_CONFIG, "page blobs have no such tier").at("/access_tier");
  object::check_endpoint(config.string("/endpoint"), "/endpoint");
  for (const auto& [name, value] : object::read_store_settings(config).metadata)
    if (name.find('-') != std::string::npos || (name[0] >= '0' && name[0] <= '9'))
      throw Error(HYPER_CONFIG, "\"" + name + "\" is no name for metadata of a blob")
          .hint("use a-z, 0-9 and '_', a letter first")
          .at("/metadata");
  read_account(config);
}

std::unique_ptr<AzureStorage> AzureStorage::connect(const Doc& config, Op op) {
  validate(config, op);
  Settings settings;
  settings.account = read_account(config);
  object::check_endpoint(settings.account.endpoint, "/connection_string");
  settings.container = config.string("/container");
  settings.tier = config.string("/access_tier");
  settings.tags = tags_of(config);
  settings.http = object::read_http_settings(config);
  std::shared_ptr<object::Service> service;
  if (config.string("/blob_type") == "page")
    service = std::make_shared<PageBlobs>(std::move(settings));
  else
    service = std::make_shared<BlockBlobs>(std::move(settings));
  return std::make_unique<AzureStorage>(std::move(service), object::read_store_settings(config));
}

}  // namespace hyper::azure
