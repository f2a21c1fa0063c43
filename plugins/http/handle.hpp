// SPDX-License-Identifier: Apache-2.0
// One transfer at a time over connections that stay open in between: a libcurl multi handle, which
// keeps them, drives an easy handle for each transfer, so that a wait ends on cancel and a download
// is pulled, not pushed. Owned by a Client's pool; used by one thread at a time. No threads.
#ifndef HYPERHOST_PLUGINS_HTTP_HANDLE_HPP
#define HYPERHOST_PLUGINS_HTTP_HANDLE_HPP

#include <curl/curl.h>

#include <exception>
#include <string>

#include "message.hpp"
#include "settings.hpp"
#include "tls.hpp"

namespace hyper::http {

class Handle {
 public:
  explicit Handle(const Settings& settings);
  ~Handle();
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  /// Begins a transfer and drives it until the answer's header is there. The request must stay
  /// until stop(). The answer's body is kept back beyond `window` bytes.
  void start(const Request& request, const Cancel& cancel, std::size_t window);
  /// Drives it until body() holds something or the transfer has ended; false = ended, body empty.
  bool more(const Cancel& cancel);
  std::string& body() { return body_; }
  long status() const { return status_; }
  Headers& headers() { return headers_; }
  /// Ends the transfer; its connection stays usable only if the transfer was complete.
  void stop() noexcept;

 private:
  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* self);
  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* self);
  static std::size_t on_read(char* data, std::size_t size, std::size_t count, void* self);
  static int on_seek(void* self, curl_off_t offset, int origin);
  static int before_request(void* self, char* primary_ip, char* local_ip, int primary_port,
                            int local_port);

  void make_easy();
  void set_body(const Request& request);
  template <class Until>
  void drive(const Cancel& cancel, Until until);
  void finished(CURLcode code);
  /// What messages call the transfer's URL.
  std::string place() const;

  const Settings settings_;
  CURLM* multi_ = nullptr;
  CertificateCheck check_;  // the kept connections point to it

  // of the running transfer
  CURL* easy_ = nullptr;
  const Request* request_ = nullptr;
  curl_slist* sent_headers_ = nullptr;
  std::size_t window_ = 0, body_sent_ = 0, header_bytes_ = 0;
  uint64_t moved_ = 0;         // bytes in both directions
  uint64_t moved_before_ = 0;  // … when the current stall's count began
  std::chrono::steady_clock::time_point begun_{};
  std::chrono::steady_clock::duration waited_{};  // of that count, in earlier calls
  std::string body_;
  long status_ = 0;
  Headers headers_;
  bool header_done_ = false, done_ = false, paused_ = false;
  bool body_read_ = false;  ///< libcurl has taken some of the request's body
  bool broken_ = false;     ///< the last transfer failed: the next one connects again
  std::exception_ptr failure_;
  char text_[CURL_ERROR_SIZE] = {};
};

}  // namespace hyper::http

#endif
