// SPDX-License-Identifier: Apache-2.0
// Access tokens for Google Cloud: from a service account's key (a signed JWT), a user's refresh
// token as gcloud keeps it, or the metadata of the machine; fetched again in time. Thread-safe.
#ifndef HYPERHOST_GCS_GOOGLE_AUTH_HPP
#define HYPERHOST_GCS_GOOGLE_AUTH_HPP

#include <ctime>
#include <memory>
#include <mutex>
#include <string>

#include "plugins/http/client.hpp"

typedef struct evp_pkey_st EVP_PKEY;

namespace hyper::gcs {

/// An RSA private key that signs by SHA-256.
class SigningKey {
 public:
  /// Throws HYPER_CONFIG without showing it.
  explicit SigningKey(const std::string& pem);
  ~SigningKey();
  SigningKey(const SigningKey&) = delete;
  SigningKey& operator=(const SigningKey&) = delete;
  std::string sign(const std::string& text) const;

 private:
  EVP_PKEY* key_;
};

class GoogleAuth {
 public:
  /// credentials: the JSON of a key file; "" = GOOGLE_APPLICATION_CREDENTIALS, gcloud's own file,
  /// then the machine's metadata. Throws HYPER_CONFIG for a file that is none.
  GoogleAuth(const std::string& credentials, bool anonymous, const http::Settings& settings);

  /// "" for anonymous requests. Throws HYPER_AUTH.
  std::string token(const http::Cancel& cancel);
  void renew();
  /// The signer of URLs; "" and nullptr where there is no service account's key.
  const std::string& email() const { return email_; }
  const SigningKey* key() const { return key_.get(); }

 private:
  std::string fetch(const http::Cancel& cancel);

  bool anonymous_, user_ = false;
  std::string email_, key_id_, token_uri_;
  std::string client_id_, client_secret_, refresh_token_;
  std::unique_ptr<SigningKey> key_;
  http::Client client_;
  std::mutex mutex_;
  std::string token_;
  std::time_t expires_ = 0;
};

}  // namespace hyper::gcs

#endif
