// SPDX-License-Identifier: Apache-2.0
#include "tls.hpp"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "errors.hpp"

namespace hyper::http {
namespace {

constexpr std::size_t kSha1Digits = 40;
constexpr std::size_t kSha256Digits = 64;

std::string digest_of(X509* certificate, const EVP_MD* kind) {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (certificate == nullptr || X509_digest(certificate, kind, bytes, &length) != 1) return {};
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (unsigned int i = 0; i < length; ++i) {
    out += kDigits[bytes[i] >> 4];
    out += kDigits[bytes[i] & 15];
  }
  return out;
}

std::string with_colons(const std::string& digits) {
  std::string out;
  for (std::size_t i = 0; i < digits.size(); i += 2)
    out += (i == 0 ? "" : ":") + digits.substr(i, 2);
  return out;
}

}  // namespace

std::string normal_thumbprint(const std::string& text) {
  std::string out;
  bool valid = true;
  for (const char c : text) {
    if (c == ':' || c == ' ') continue;
    const bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    valid = valid && digit;
    out += c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  if (!valid || (out.size() != kSha1Digits && out.size() != kSha256Digits))
    throw Error(HYPER_CONFIG, "a thumbprint is 20 (SHA-1) or 32 (SHA-256) bytes in hexadecimal");
  return out;
}

CertificateCheck::CertificateCheck(const Tls& tls)
    : tls_(tls), pin_(tls.thumbprint.empty() ? std::string() : normal_thumbprint(tls.thumbprint)) {}

void CertificateCheck::install_in(CURL* easy) {
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  const bool chain = !tls_.insecure && pin_.empty();
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, chain ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, chain ? 2L : 0L);
  if (chain && !tls_.ca_file.empty()) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, tls_.ca_file.c_str());
    curl_easy_setopt(easy, CURLOPT_CAPATH, nullptr);
  }
  if (pin_.empty() && tls_.insecure) return;
  // A resumed session would not show its certificate again.
  curl_easy_setopt(easy, CURLOPT_SSL_SESSIONID_CACHE, pin_.empty() ? 1L : 0L);
  curl_easy_setopt(
      easy, CURLOPT_SSL_CTX_FUNCTION,
      static_cast<curl_ssl_ctx_callback>([](CURL* handle, void* context, void* self) -> CURLcode {
        return set_verify(handle, context, self) == 0 ? CURLE_OK : CURLE_SSL_CONNECT_ERROR;
      }));
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, this);
}

int CertificateCheck::set_verify(CURL*, void* ssl_context, void* self) {
  auto* context = static_cast<SSL_CTX*>(ssl_context);
  // libcurl switched the check off because it cannot do this one.
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(context, &CertificateCheck::verify, self);
  return 0;
}

int CertificateCheck::verify(X509_STORE_CTX* store, void* self_pointer) {
  auto& self = *static_cast<CertificateCheck*>(self_pointer);
  try {
    X509* certificate = X509_STORE_CTX_get0_cert(store);
    bool trusted = false;
    if (self.pin_.empty()) {
      trusted = X509_verify_cert(store) == 1;
      if (!trusted) self.reason_ = X509_verify_cert_error_string(X509_STORE_CTX_get_error(store));
    } else {
      const bool sha1 = self.pin_.size() == kSha1Digits;
      self.refused_as_ = digest_of(certificate, sha1 ? EVP_sha1() : EVP_sha256());
      trusted = !self.refused_as_.empty() && self.refused_as_ == self.pin_;
      X509_STORE_CTX_set_error(store, trusted ? X509_V_OK : X509_V_ERR_CERT_REJECTED);
    }
    if (!trusted) self.refused_ = digest_of(certificate, EVP_sha256());
    return trusted ? 1 : 0;
  } catch (...) {
    return 0;
  }
}

std::optional<Error> CertificateCheck::refusal(const std::string& url) const {
  if (refused_.empty()) return std::nullopt;
  const std::string place = shown_url(url);
  if (!pin_.empty())
    return Error(HYPER_AUTH, "the certificate of " + place + " is another than was agreed",
                 "its thumbprint is " + with_colons(refused_as_) + ", expected was " +
                     with_colons(pin_))
        .hint(
            "If the server was given a new certificate, change the thumbprint; if not, somebody "
            "stands in between.");
  return Error(HYPER_AUTH, "the certificate of " + place + " is not trusted", reason_)
      .hint(
          "Name the authority's certificate as CA file, or, once compared with the server's own, "
          "the thumbprint " +
          with_colons(refused_) + ".");
}

}  // namespace hyper::http
