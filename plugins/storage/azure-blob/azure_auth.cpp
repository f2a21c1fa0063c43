// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/azure-blob/azure_auth.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>

#include "plugins/storage/object/digest.hpp"

namespace hyper::azure {
namespace {

constexpr std::time_t kEarly = 300;  // seconds before a token expires that another is fetched
constexpr const char* kSasVersion = "2020-12-06";

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

std::string utc(std::time_t time) {
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

http::Settings metadata_settings() {
  http::Settings settings;
  settings.connect_timeout = std::chrono::milliseconds(2000);
  settings.stall_timeout = std::chrono::milliseconds(10000);
  return settings;
}

}  // namespace

Account parse_connection_string(const std::string& text) {
  std::map<std::string, std::string> said;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(';', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const std::size_t equals = part.find('=');
    if (equals != std::string::npos) said[lower(part.substr(0, equals))] = part.substr(equals + 1);
    begin = end + 1;
  }
  const auto wrong = [](const std::string& why) {
    return Error(HYPER_CONFIG, "the connection string is malformed", why).at("/connection_string");
  };
  if (lower(said["usedevelopmentstorage"]) == "true")
    throw wrong("UseDevelopmentStorage names no endpoint; write BlobEndpoint=…");
  Account account;
  account.name = said["accountname"];
  if (account.name.empty()) throw wrong("it has no AccountName");
  account.sas = said["sharedaccesssignature"];
  if (!account.sas.empty() && account.sas.front() == '?') account.sas.erase(0, 1);
  if (const std::string& key = said["accountkey"]; !key.empty()) {
    const auto raw = object::from_base64(key);
    if (!raw) throw wrong("its AccountKey is not base64");
    account.key = *raw;
  }
  account.endpoint = said["blobendpoint"];
  if (account.endpoint.empty()) {
    const std::string protocol = said.count("defaultendpointsprotocol") != 0
                                     ? said["defaultendpointsprotocol"]
                                     : std::string("https");
    const std::string suffix = said.count("endpointsuffix") != 0 ? said["endpointsuffix"]
                                                                 : std::string("core.windows.net");
    account.endpoint = protocol + "://" + account.name + ".blob." + suffix;
  }
  return account;
}

std::string shared_key(const Unsigned& request, const Account& account) {
  std::map<std::string, std::string> own, other;
  for (const auto& [name, value] : request.headers) {
    const std::string plain = lower(name);
    (plain.rfind("x-ms-", 0) == 0 ? own : other)[plain] = value;
  }
  std::string text = request.method + "\n";
  for (const char* name :
       {"content-encoding", "content-language", "content-length", "content-md5", "content-type",
        "date", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"}) {
    if (std::string(name) == "content-length")
      text += request.length == 0 ? std::string() : std::to_string(request.length);
    else
      text += other[name];
    text += "\n";
  }
  for (const auto& [name, value] : own) text += name + ":" + value + "\n";
  text += "/" + account.name + request.path;
  std::map<std::string, std::string> query;
  for (const auto& [name, value] : request.query) query[lower(name)] = value;
  for (const auto& [name, value] : query) text += "\n" + name + ":" + value;
  return "SharedKey " + account.name + ":" + object::base64(object::hmac_sha256(account.key, text));
}

std::string read_sas(const Account& account, const std::string& container, const std::string& key,
                     std::time_t from, std::time_t until) {
  const bool tls = account.endpoint.rfind("https://", 0) == 0;
  const std::string protocol = tls ? "https" : "https,http";
  const std::string text = "r\n" + utc(from) + "\n" + utc(until) + "\n/blob/" + account.name + "/" +
                           container + "/" + key + "\n\n\n" + protocol + "\n" + kSasVersion +
                           "\nb\n\n\n\n\n\n\n";
  return object::encoded_query({{"sp", "r"},
                                {"st", utc(from)},
                                {"se", utc(until)},
                                {"spr", protocol},
                                {"sv", kSasVersion},
                                {"sr", "b"},
                                {"sig", object::base64(object::hmac_sha256(account.key, text))}});
}

ManagedIdentity::ManagedIdentity(std::string client_id)
    : client_id_(std::move(client_id)), client_(metadata_settings()) {}

void ManagedIdentity::renew() {
  const std::lock_guard lock(mutex_);
  token_.clear();
}

std::string ManagedIdentity::token(const http::Cancel& cancel) {
  const std::lock_guard lock(mutex_);
  if (!token_.empty() && std::time(nullptr) + kEarly < expires_) return token_;
  http::Request request;
  Fields query = {{"resource", "https://storage.azure.com/"}};
  if (!client_id_.empty()) query.emplace_back("client_id", client_id_);
  const std::string own = environment("IDENTITY_ENDPOINT");  // App Service and its relatives
  if (!own.empty()) {
    query.emplace_back("api-version", "2019-08-01");
    request.url = own + "?" + object::encoded_query(query);
    request.headers = {{"X-IDENTITY-HEADER", environment("IDENTITY_HEADER")}};
  } else {
    std::string base = environment("AZURE_POD_IDENTITY_AUTHORITY_HOST");
    if (base.empty()) base = "http://169.254.169.254";
    while (base.back() == '/') base.pop_back();
    query.emplace_back("api-version", "2018-02-01");
    request.url = base + "/metadata/identity/oauth2/token?" + object::encoded_query(query);
    request.headers = {{"Metadata", "true"}};
  }
  const auto none = [](const std::string& why) {
    return Error(HYPER_AUTH, "no credentials for Azure were found",
                 "the plan has none, and this machine's managed identity gives no token: " + why)
        .hint(
            "set account and key, sas or connection_string in the plan's storage options as "
            "{env: NAME} or {file: PATH}")
        .at("/key");
  };
  std::string body;
  try {
    const http::Response answer = client_.send(request, cancel);
    if (!answer.ok()) throw none("HTTP " + std::to_string(answer.status));
    body = answer.body;
  } catch (const Error& error) {
    if (error.status() == HYPER_AUTH) throw;
    throw none(error.what());
  }
  const auto answer = nlohmann::json::parse(body, nullptr, false);
  if (!answer.is_object() || !answer.value("access_token", nlohmann::json()).is_string())
    throw none("the answer holds none");
  token_ = answer["access_token"].get<std::string>();
  const auto text = [&](const char* name) {
    const auto value = answer.value(name, nlohmann::json());
    return value.is_string() ? value.get<std::string>() : value.dump();
  };
  // Seconds since 1970, or from now.
  const long at = std::strtol(text("expires_on").c_str(), nullptr, 10);
  const long in = std::strtol(text("expires_in").c_str(), nullptr, 10);
  expires_ = at > 0 ? at : std::time(nullptr) + std::max(in, 0L);
  return token_;
}

}  // namespace hyper::azure
