// SPDX-License-Identifier: Apache-2.0
#include "handle.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "errors.hpp"

namespace hyper::http {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxHeaderBytes = 256u << 10;
constexpr long kReceiveBuffer = 256 << 10;

void init_once() {
  // Never cleaned up: plugins are not unloaded, and the host may use libcurl as well.
  static const CURLcode done = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (done != CURLE_OK) throw Error(HYPER_FAIL, "cannot initialise libcurl");
}

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

Handle::Handle(const Settings& settings) : settings_(settings), check_(settings_.tls) {
  init_once();
  multi_ = curl_multi_init();
  if (multi_ == nullptr) throw Error(HYPER_FAIL, "out of memory");
}

/// One for each transfer; the multi handle keeps the connections. libcurl before 8.1 keeps a
/// pointer to the last header field of an easy handle's earlier answer, whose memory it has freed,
/// and appends to it the first field of the next answer if that begins with a blank: a server
/// could make a process write to freed memory.
void Handle::make_easy() {
  easy_ = curl_easy_init();
  if (easy_ == nullptr) throw Error(HYPER_FAIL, "out of memory");
  check_.install_in(easy_);
  curl_easy_setopt(easy_, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy_, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy_, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy_, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy_, CURLOPT_PROXY, settings_.proxy.c_str());  // "" = not the environment's
  curl_easy_setopt(easy_, CURLOPT_NOPROXY, "");
  curl_easy_setopt(easy_, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy_, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
  curl_easy_setopt(easy_, CURLOPT_NETRC, static_cast<long>(CURL_NETRC_IGNORED));
  curl_easy_setopt(easy_, CURLOPT_USERAGENT, settings_.user_agent.c_str());
  curl_easy_setopt(easy_, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(settings_.connect_timeout.count()));
  curl_easy_setopt(easy_, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy_, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(easy_, CURLOPT_BUFFERSIZE, kReceiveBuffer);
  curl_easy_setopt(easy_, CURLOPT_UPLOAD_BUFFERSIZE, kReceiveBuffer);
  curl_easy_setopt(easy_, CURLOPT_ERRORBUFFER, text_);
  curl_easy_setopt(easy_, CURLOPT_WRITEFUNCTION, &Handle::on_body);
  curl_easy_setopt(easy_, CURLOPT_WRITEDATA, this);
  curl_easy_setopt(easy_, CURLOPT_HEADERFUNCTION, &Handle::on_header);
  curl_easy_setopt(easy_, CURLOPT_HEADERDATA, this);
  curl_easy_setopt(easy_, CURLOPT_READFUNCTION, &Handle::on_read);
  curl_easy_setopt(easy_, CURLOPT_READDATA, this);
  curl_easy_setopt(easy_, CURLOPT_SEEKFUNCTION, &Handle::on_seek);
  curl_easy_setopt(easy_, CURLOPT_SEEKDATA, this);
  curl_easy_setopt(easy_, CURLOPT_PREREQFUNCTION, &Handle::before_request);
  curl_easy_setopt(easy_, CURLOPT_PREREQDATA, this);
}

std::string Handle::place() const {
  return shown_url(request_->shown.empty() ? request_->url : request_->shown);
}

Handle::~Handle() {
  stop();
  curl_multi_cleanup(multi_);
}

void Handle::set_body(const Request& request) {
  const bool from_function = static_cast<bool>(request.read_body);
  const bool has_body = from_function || !request.body.empty();
  if (request.method == "HEAD") {
    curl_easy_setopt(easy_, CURLOPT_NOBODY, 1L);
  } else if (has_body || request.method == "PUT") {
    curl_easy_setopt(easy_, CURLOPT_UPLOAD, 1L);
    curl_off_t length = static_cast<curl_off_t>(request.body.size());
    if (from_function)
      length = request.read_body_length ? static_cast<curl_off_t>(*request.read_body_length) : -1;
    curl_easy_setopt(easy_, CURLOPT_INFILESIZE_LARGE, length);
  } else if (request.method == "POST") {
    curl_easy_setopt(easy_, CURLOPT_POST, 1L);
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDS, "");
    curl_easy_setopt(easy_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(0));
  }
  // Else the options above imply the verb.
  const bool implied = request.method == "GET" || request.method == "HEAD";
  if (!implied || has_body) curl_easy_setopt(easy_, CURLOPT_CUSTOMREQUEST, request.method.c_str());
}

void Handle::start(const Request& request, const Cancel& cancel, std::size_t window) {
  stop();
  request_ = &request;
  window_ = window;
  body_sent_ = header_bytes_ = 0;
  moved_ = moved_before_ = 0;
  begun_ = Clock::now();
  waited_ = {};
  body_.clear();
  status_ = 0;
  headers_.clear();
  header_done_ = done_ = paused_ = body_read_ = false;
  text_[0] = '\0';
  check_.reset();

  make_easy();
  curl_easy_setopt(easy_, CURLOPT_URL, request.url.c_str());
  set_body(request);
  bool has_expect = false;
  const auto append = [this](const std::string& line) {
    curl_slist* longer = curl_slist_append(sent_headers_, line.c_str());
    if (longer == nullptr) throw Error(HYPER_FAIL, "out of memory");
    sent_headers_ = longer;
  };
  for (const auto& [name, value] : request.headers) {
    if ((name + value).find_first_of("\r\n") != std::string::npos)
      throw Error(HYPER_CONFIG, "a header field must not hold a line break");
    has_expect = has_expect || name == "Expect";
    append(value.empty() ? name + ";" : name + ": " + value);
  }
  if (!has_expect) append("Expect:");
  curl_easy_setopt(easy_, CURLOPT_HTTPHEADER, sent_headers_);
  if (request.range) {
    const auto& [first, last] = *request.range;
    curl_easy_setopt(easy_, CURLOPT_RANGE,
                     (std::to_string(first) + "-" + std::to_string(last)).c_str());
  }
  // After a failure the connections kept beside it are not to be trusted either.
  curl_easy_setopt(easy_, CURLOPT_FRESH_CONNECT, std::exchange(broken_, false) ? 1L : 0L);
  if (curl_multi_add_handle(multi_, easy_) != CURLM_OK)
    throw Error(HYPER_FAIL, "libcurl takes no transfer");
  drive(cancel, [this] { return header_done_; });
}

bool Handle::more(const Cancel& cancel) {
  if (paused_) {
    paused_ = false;
    curl_easy_pause(easy_, CURLPAUSE_CONT);
  }
  drive(cancel, [this] { return !body_.empty(); });
  return !body_.empty();
}

void Handle::stop() noexcept {
  if (easy_ != nullptr) {
    curl_multi_remove_handle(multi_, easy_);  // does nothing where start() did not add it
    curl_easy_cleanup(std::exchange(easy_, nullptr));
  }
  request_ = nullptr;
  failure_ = nullptr;  // only its catcher keeps it: the next user may be another thread
  curl_slist_free_all(sent_headers_);
  sent_headers_ = nullptr;
}

/// Until until() or the end of the transfer. Only the time in here counts as a stall: between two
/// calls it is the consumer who takes its time.
template <class Until>
void Handle::drive(const Cancel& cancel, Until until) {
  const auto stall = request_->stall_timeout.value_or(settings_.stall_timeout);
  auto since = Clock::now() - waited_;
  const auto limit =
      request_->time_limit ? begun_ + *request_->time_limit : Clock::time_point::max();
  while (!until() && !done_) {
    int running = 0;
    if (curl_multi_perform(multi_, &running) != CURLM_OK)
      throw Error(HYPER_FAIL, "internal error of libcurl");
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &left))
      if (message->msg == CURLMSG_DONE) finished(message->data.result);
    if (until() || done_) break;
    const auto now = Clock::now();
    if (moved_ - moved_before_ >= settings_.stall_bytes) {
      since = now;
      moved_before_ = moved_;
    }
    if (now >= limit)
      throw Error(HYPER_IO, "the transfer with " + place() + " takes too long",
                  "it has not ended after " + std::to_string(request_->time_limit->count()) + " ms")
          .retryable();
    if (now - since >= stall) {
      waited_ = {};  // for a caller that waits on
      moved_before_ = moved_;
      throw Error(HYPER_IO, "the transfer with " + place() + " stands still",
                  "fewer than " + std::to_string(settings_.stall_bytes) + " bytes in " +
                      std::to_string(stall.count()) + " ms")
          .native(kStalled)
          .retryable();
    }
    const auto wait =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::min(since + stall, limit) - now);
    curl_waitfd extra{cancel.fd(), CURL_WAIT_POLLIN, 0};
    const unsigned int extras = cancel.fd() >= 0 ? 1 : 0;
    curl_multi_poll(multi_, extras != 0 ? &extra : nullptr, extras,
                    static_cast<int>(std::clamp<int64_t>(wait.count() + 1, 1, 60'000)), nullptr);
    if (extra.revents != 0) throw Reported(HYPER_CANCELLED);
  }
  waited_ = Clock::now() - since;
  // What came before a failure is handed out first.
  if (!until() && failure_) std::rethrow_exception(failure_);
}

void Handle::finished(CURLcode code) {
  done_ = true;
  broken_ = code != CURLE_OK;
  if (failure_) return;
  if (code == CURLE_OK) {
    header_done_ = true;
  } else if (const auto refusal = check_.refusal(place())) {
    failure_ = std::make_exception_ptr(*refusal);
  } else {
    failure_ = std::make_exception_ptr(transfer_error(place(), code, text_));
  }
}

std::size_t Handle::on_body(char* data, std::size_t size, std::size_t count, void* self_pointer) {
  auto& self = *static_cast<Handle*>(self_pointer);
  const std::size_t length = size * count;
  if (!self.body_.empty() && self.body_.size() + length > self.window_) {
    self.paused_ = true;
    return CURL_WRITEFUNC_PAUSE;
  }
  try {
    self.body_.append(data, length);
  } catch (...) {
    self.failure_ = std::current_exception();
    return 0;
  }
  self.moved_ += length;
  return length;
}

std::size_t Handle::on_header(char* data, std::size_t size, std::size_t count, void* self_pointer) {
  auto& self = *static_cast<Handle*>(self_pointer);
  const std::size_t length = size * count;
  try {
    self.moved_ += length;
    self.header_bytes_ += length;
    if (self.header_bytes_ > kMaxHeaderBytes)
      throw Error(HYPER_CORRUPT, "the header of the answer of " + self.place() + " is too long");
    const std::string_view line = trimmed({data, length});
    if (line.substr(0, 5) == "HTTP/") {  // also after a 100 Continue or a proxy's answer
      self.headers_.clear();
      curl_easy_getinfo(self.easy_, CURLINFO_RESPONSE_CODE, &self.status_);
    } else if (line.empty()) {
      curl_easy_getinfo(self.easy_, CURLINFO_RESPONSE_CODE, &self.status_);
      self.header_done_ = self.status_ >= 200;
    } else if (const std::size_t colon = line.find(':'); colon != std::string_view::npos) {
      self.headers_.add(std::string(trimmed(line.substr(0, colon))),
                        std::string(trimmed(line.substr(colon + 1))));
    }
  } catch (...) {
    self.failure_ = std::current_exception();
    return 0;
  }
  return length;
}

std::size_t Handle::on_read(char* data, std::size_t size, std::size_t count, void* self_pointer) {
  auto& self = *static_cast<Handle*>(self_pointer);
  const std::size_t room = size * count;
  std::size_t length = 0;
  self.body_read_ = true;
  try {
    if (self.request_->read_body) {
      length = self.request_->read_body(data, room);
    } else {
      length = std::min(room, self.request_->body.size() - self.body_sent_);
      std::memcpy(data, self.request_->body.data() + self.body_sent_, length);
      self.body_sent_ += length;
    }
  } catch (...) {
    self.failure_ = std::current_exception();
    return CURL_READFUNC_ABORT;
  }
  self.moved_ += length;
  return length;
}

/// libcurl repeats a request by itself on a new connection when a kept one ends before the answer.
/// What it has read of the body by then may be lost with the old one. A body from memory begins
/// again; one from a function is sent once.
int Handle::before_request(void* self_pointer, char*, char*, int, int) {
  auto& self = *static_cast<Handle*>(self_pointer);
  self.body_sent_ = 0;
  if (!self.body_read_ || !self.request_->read_body) return CURL_PREREQFUNC_OK;
  try {
    self.failure_ = std::make_exception_ptr(
        Error(HYPER_IO, "the connection to " + self.place() + " ended while a body was sent")
            .retryable());
  } catch (...) {
    self.failure_ = std::current_exception();
  }
  return CURL_PREREQFUNC_ABORT;
}

int Handle::on_seek(void* self_pointer, curl_off_t offset, int origin) {
  auto& self = *static_cast<Handle*>(self_pointer);
  if (origin != SEEK_SET || offset != 0 || self.request_->read_body) return CURL_SEEKFUNC_FAIL;
  self.body_sent_ = 0;
  return CURL_SEEKFUNC_OK;
}

}  // namespace hyper::http
