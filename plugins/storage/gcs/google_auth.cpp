// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/gcs/google_auth.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "plugins/storage/object/digest.hpp"
#include "plugins/storage/object/sigv4.hpp"

namespace hyper::gcs {
namespace {

using nlohmann::json;

constexpr std::time_t kEarly = 300;
constexpr std::time_t kLifetime = 3600;  // of a JWT; Google allows no more
constexpr std::size_t kLargestFile = 1u << 20;
constexpr const char* kScope = "https://www.googleapis.com/auth/devstorage.read_write";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kLargestFile, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

std::string member(const json& document, const char* name) {
  const auto found = document.find(name);
  return found != document.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

SigningKey::SigningKey(const std::string& pem) {
  BIO* text = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  key_ = text == nullptr ? nullptr : PEM_read_bio_PrivateKey(text, nullptr, nullptr, nullptr);
  BIO_free(text);
  if (key_ == nullptr || EVP_PKEY_get_base_id(key_) != EVP_PKEY_RSA) {
    EVP_PKEY_free(key_);
    throw Error(HYPER_CONFIG, "the service account's private_key is no RSA key").at("/credentials");
  }
}

SigningKey::~SigningKey() {
  EVP_PKEY_free(key_);
}

std::string SigningKey::sign(const std::string& text) const {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  std::size_t length = 0;
  std::string out;
  if (!context || EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key_) != 1 ||
      EVP_DigestSign(context.get(), nullptr, &length, bytes, text.size()) != 1)
    throw Error(HYPER_FAIL, "this OpenSSL signs by no RSA key");
  out.resize(length);
  if (EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(out.data()), &length, bytes,
                     text.size()) != 1)
    throw Error(HYPER_FAIL, "this OpenSSL signs by no RSA key");
  out.resize(length);
  return out;
}

GoogleAuth::GoogleAuth(const std::string& credentials, bool anonymous,
                       const http::Settings& settings)
    : anonymous_(anonymous), client_(settings) {
  if (anonymous) return;
  std::string text = credentials, source = "the plan";
  if (text.empty()) {
    source = environment("GOOGLE_APPLICATION_CREDENTIALS");
    if (!source.empty() && (text = file_text(source)).empty())
      throw Error(HYPER_CONFIG, "GOOGLE_APPLICATION_CREDENTIALS names no readable file", source);
  }
  if (text.empty()) {
    source = environment("HOME") + "/.config/gcloud/application_default_credentials.json";
    text = file_text(source);
  }
  if (text.empty()) return;  // the machine's metadata
  const json document = json::parse(text, nullptr, false);
  const auto wrong = [&](const std::string& why) {
    return Error(HYPER_CONFIG, "the Google credentials of " + source + " cannot be used", why)
        .at("/credentials");
  };
  if (!document.is_object()) throw wrong("they are no JSON object");
  token_uri_ = member(document, "token_uri");
  if (token_uri_.empty()) token_uri_ = "https://oauth2.googleapis.com/token";
  const std::string type = member(document, "type");
  if (type == "service_account") {
    email_ = member(document, "client_email");
    key_id_ = member(document, "private_key_id");
    if (email_.empty()) throw wrong("client_email is missing");
    key_ = std::make_unique<SigningKey>(member(document, "private_key"));
  } else if (type == "authorized_user") {
    user_ = true;
    client_id_ = member(document, "client_id");
    client_secret_ = member(document, "client_secret");
    refresh_token_ = member(document, "refresh_token");
    if (refresh_token_.empty()) throw wrong("refresh_token is missing");
  } else {
    throw wrong("their type '" + type + "' is neither service_account nor authorized_user");
  }
}

void GoogleAuth::renew() {
  const std::lock_guard lock(mutex_);
  token_.clear();
}

std::string GoogleAuth::token(const http::Cancel& cancel) {
  if (anonymous_) return {};
  const std::lock_guard lock(mutex_);
  if (token_.empty() || std::time(nullptr) + kEarly >= expires_) token_ = fetch(cancel);
  return token_;
}

std::string GoogleAuth::fetch(const http::Cancel& cancel) {
  http::Request request;
  std::string body;
  object::Fields form;
  if (key_) {
    const std::time_t now = std::time(nullptr);
    json head = {{"alg", "RS256"}, {"typ", "JWT"}};
    if (!key_id_.empty()) head["kid"] = key_id_;
    const json claims = {{"iss", email_},
                         {"scope", kScope},
                         {"aud", token_uri_},
                         {"iat", now},
                         {"exp", now + kLifetime}};
    const std::string text =
        object::base64url(head.dump()) + "." + object::base64url(claims.dump());
    form = {{"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"},
            {"assertion", text + "." + object::base64url(key_->sign(text))}};
  } else if (user_) {
    form = {{"grant_type", "refresh_token"},
            {"client_id", client_id_},
            {"client_secret", client_secret_},
            {"refresh_token", refresh_token_}};
  }
  if (!form.empty()) {
    body = object::encoded_query(form);
    request.method = "POST";
    request.url = token_uri_;
    request.headers = {{"Content-Type", "application/x-www-form-urlencoded"}};
    request.body = body;
  } else {
    std::string host = environment("GCE_METADATA_HOST");
    if (host.empty()) host = "metadata.google.internal";
    request.url = "http://" + host + "/computeMetadata/v1/instance/service-accounts/default/token";
    request.headers = {{"Metadata-Flavor", "Google"}};
  }
  const auto none = [&](const std::string& why) {
    return Error(HYPER_AUTH,
                 form.empty() ? "no credentials for Google Cloud Storage were found"
                              : "Google gives no token for these credentials",
                 why)
        .hint("set credentials: {file: KEY.json} in the plan's storage options")
        .at("/credentials");
  };
  http::Response answer;
  try {
    answer = client_.send(request, cancel);
  } catch (const Error& error) {
    if (!form.empty() && error.is_retryable()) throw;
    throw none(error.what());
  }
  const json document = json::parse(answer.body, nullptr, false);
  if (answer.status >= 500)
    throw Error(HYPER_BUSY, "Google's token service fails", "HTTP " + std::to_string(answer.status))
        .retryable();
  if (!answer.ok() || !document.is_object() || member(document, "access_token").empty())
    throw none("HTTP " + std::to_string(answer.status) +
               (document.is_object()
                    ? " " + member(document, "error") + " " + member(document, "error_description")
                    : std::string()));
  const auto seconds = document.value("expires_in", json());
  expires_ = std::time(nullptr) + (seconds.is_number_integer() ? seconds.get<std::time_t>() : 0);
  return member(document, "access_token");
}

}  // namespace hyper::gcs
