// SPDX-License-Identifier: Apache-2.0
// The check of a server's certificate, inside OpenSSL's handshake: by the chain of trust, or by
// the thumbprint of the certificate itself (libcurl's pinning is of the public key instead).
// Owned by a Handle and used on its thread.
#ifndef HYPERHOST_PLUGINS_HTTP_TLS_HPP
#define HYPERHOST_PLUGINS_HTTP_TLS_HPP

#include <hyper/error.hpp>
#include <optional>
#include <string>

#include "settings.hpp"

struct x509_store_ctx_st;
typedef void CURL;

namespace hyper::http {

class CertificateCheck {
 public:
  /// Throws HYPER_CONFIG for a thumbprint that is none. tls: lives as long as this.
  explicit CertificateCheck(const Tls& tls);
  CertificateCheck(const CertificateCheck&) = delete;
  CertificateCheck& operator=(const CertificateCheck&) = delete;

  /// Sets the TLS options of `easy`. Its connections must not outlive this.
  void install_in(CURL* easy);
  void reset() { refused_.clear(); }
  /// Why the last handshake was refused, with what to do; nothing if it was not by this check.
  std::optional<Error> refusal(const std::string& url) const;

 private:
  static int set_verify(CURL* easy, void* ssl_context, void* self);
  static int verify(x509_store_ctx_st* store, void* self);

  const Tls& tls_;
  const std::string pin_;   // normal form; "" = chain of trust
  std::string refused_;     // the SHA-256 of the certificate that was refused
  std::string refused_as_;  // its digest in the pin's kind
  std::string reason_;
};

}  // namespace hyper::http

#endif
