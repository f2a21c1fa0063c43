// SPDX-License-Identifier: Apache-2.0
#include "session.hpp"

#include <openssl/evp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>

#include "login_gate.hpp"
#include "plugins/http/errors.hpp"

namespace hyper::vsphere {
namespace {

constexpr auto kGoodbye = std::chrono::seconds(10);   // without a logout a session expires
constexpr auto kKeepAlive = std::chrono::minutes(5);  // sessions end after 30 idle ones
constexpr int kBusyTries = 5;
constexpr auto kMostBusyWait = std::chrono::seconds(30);
constexpr uint64_t kMaxAnswer = 64u << 20;
constexpr std::ptrdiff_t kMostTags = 1'000'000;  // each costs 20 times the memory of its text
constexpr int kWholeCall = 5;  // times the longest stall: an answer that trickles ends, too

const Ref kServiceInstance{"ServiceInstance", "ServiceInstance"};

bool is_version(const std::string& text) {
  return !text.empty() && text.size() < 32 &&
         text.find_first_not_of("0123456789.") == std::string::npos;
}

std::unique_ptr<pugi::xml_document> parsed(std::string body, const std::string& what) {
  if (std::count(body.begin(), body.end(), '<') > kMostTags)
    throw Error(HYPER_CORRUPT, what,
                "the answer has more than " + std::to_string(kMostTags) + " XML tags");
  body = valid_utf8(std::move(body));
  auto out = std::make_unique<pugi::xml_document>();
  if (!out->load_buffer(body.data(), body.size(), pugi::parse_default, pugi::encoding_utf8))
    out->reset();
  return out;
}

std::string utc(std::time_t time) {
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char out[32];
  return {out, std::strftime(out, sizeof out, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

/// WS-Security with a bearer token, which stands there as it was issued and signed.
std::string security_header(const std::string& assertion) {
  const std::string base = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-";
  const std::time_t now = std::time(nullptr);
  return "<soapenv:Header><wsse:Security xmlns:wsse=\"" + base + "secext-1.0.xsd\" xmlns:wsu=\"" +
         base + "utility-1.0.xsd\"><wsu:Timestamp wsu:Id=\"_now\"><wsu:Created>" + utc(now) +
         "</wsu:Created><wsu:Expires>" + utc(now + 300) + "</wsu:Expires></wsu:Timestamp>" +
         assertion + "</wsse:Security></soapenv:Header>";
}

/// The first property that was not read because there is no session. Servers do not refuse such a
/// read. They answer it with every property missing.
pugi::xml_node unauthenticated(const pugi::xml_node& response) {
  pugi::xml_node out;
  each(response, "returnval", [&](const pugi::xml_node& result) {
    each(result, "objects", [&](const pugi::xml_node& object) {
      each(object, "missingSet", [&](const pugi::xml_node& missing) {
        if (!out && xsi_type(descend(missing, "fault/fault")) == "NotAuthenticated") out = missing;
      });
    });
  });
  return out;
}

}  // namespace

std::string fingerprint_of(const std::string& secret) {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  if (EVP_Digest(secret.data(), secret.size(), bytes, &length, EVP_sha256(), nullptr) != 1)
    throw Error(HYPER_FAIL, "cannot compute a SHA-256");
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (unsigned int i = 0; i < length; ++i) {
    out += kDigits[bytes[i] >> 4];
    out += kDigits[bytes[i] & 15];
  }
  return out;
}

Answer::Answer(std::unique_ptr<pugi::xml_document> document) : document_(std::move(document)) {
  each(child(document_->document_element(), "Body"), "", [this](const pugi::xml_node& node) {
    if (!response_) response_ = node;
  });
}

void pause(std::chrono::nanoseconds time, const http::Cancel& cancel) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(time).count();
  pollfd wait{cancel.fd(), POLLIN, 0};  // a negative descriptor is ignored
  if (::poll(&wait, 1, static_cast<int>(std::clamp<int64_t>(ms, 0, 3'600'000))) > 0)
    throw Reported(HYPER_CANCELLED);
}

StopSignal::StopSignal() : fd_(::eventfd(0, EFD_CLOEXEC)) {
  if (fd_ < 0) throw errno_error(errno, "cannot make an event descriptor");
}

StopSignal::~StopSignal() {
  ::close(fd_);
}

void StopSignal::raise() noexcept {
  ::eventfd_write(fd_, 1);
}

Session::Session(const Settings& settings, Op op) : settings_(settings), client_(settings.http) {
  negotiate(op);
  const Answer answer = patiently("RetrieveServiceContent", kServiceInstance, "",
                                  "cannot speak to " + settings_.endpoint.sdk, op);
  const pugi::xml_node value = answer.value();
  content_.root_folder = ref_in(child(value, "rootFolder"));
  content_.property_collector = ref_in(child(value, "propertyCollector"));
  content_.view_manager = ref_in(child(value, "viewManager"));
  content_.search_index = ref_in(child(value, "searchIndex"));
  content_.session_manager = ref_in(child(value, "sessionManager"));
  content_.authorization_manager = ref_in(child(value, "authorizationManager"));
  content_.product = text(value, "about/fullName");
  content_.api_version = text(value, "about/apiVersion");
  content_.api_type = text(value, "about/apiType");
  content_.instance_uuid = text(value, "about/instanceUuid");
  if (content_.session_manager.empty() || content_.property_collector.empty())
    throw Error(HYPER_UNSUPPORTED, settings_.endpoint.sdk + " is no vSphere server");
  login(op);
  op.debug("logged in to " + content_.product + " at " + settings_.endpoint.authority +
           ", API version " + version_);
  keeper_ = std::thread([this] { keep_alive(); });
}

Session::~Session() {
  stop_.raise();
  keeper_.join();
  logout();
}

std::string Session::cookie() const {
  const std::lock_guard lock(mutex_);
  return cookie_;
}

std::string Session::fingerprint() const {
  const std::lock_guard lock(mutex_);
  return fingerprint_of(key_);
}

uint64_t Session::generation() const {
  const std::lock_guard lock(mutex_);
  return generation_;
}

std::string Session::user() const {
  const std::lock_guard lock(mutex_);
  return user_;
}

std::string Session::key() const {
  const std::lock_guard lock(mutex_);
  return key_;
}

/// Finds the newest version that the server speaks. Leases need it as the suffix in SOAPAction.
void Session::negotiate(const http::Cancel& cancel) {
  http::Request request;
  request.url = settings_.endpoint.sdk + "/vimServiceVersions.xml";
  request.stall_timeout = kControlStall;
  request.time_limit = kWholeCall * kControlStall;
  request.max_body = 1u << 20;
  http::Response response = client_.send(request, cancel);
  if (!response.ok()) return;
  const auto document = parsed(std::move(response.body), "cannot speak to " + request.url);
  each(document->document_element(), "namespace", [&](const pugi::xml_node& space) {
    const std::string version = text(space, "version");
    if (text(space, "name") == "urn:vim25" && is_version(version)) version_ = version;
  });
}

Answer Session::post(const char* method, const Ref& self, const std::string& args,
                     const std::string& what, const http::Cancel& cancel,
                     std::chrono::seconds stall, const std::string& header) {
  const std::string body =
      std::string(
          "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
          "<soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\""
          " xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\""
          " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">") +
      header + "<soapenv:Body><" + method + " xmlns=\"urn:vim25\"><_this type=\"" +
      escaped(self.type) + "\">" + escaped(self.id) + "</_this>" + args + "</" + method +
      "></soapenv:Body></soapenv:Envelope>";
  http::Request request;
  request.method = "POST";
  request.url = settings_.endpoint.sdk;
  request.headers = {{"Content-Type", "text/xml; charset=\"utf-8\""},
                     {"SOAPAction", "urn:vim25/" + version_}};
  if (const std::string value = cookie(); !value.empty())
    request.headers.emplace_back("Cookie", value);
  request.body = body;
  request.stall_timeout = stall;
  request.time_limit = kWholeCall * stall;
  request.max_body = kMaxAnswer;
  ++calls_;
  http::Response response = client_.send(request, cancel);

  for (const std::string& set : response.headers.all("Set-Cookie")) {
    if (set.rfind("vmware_soap_session=", 0) != 0) continue;
    // The value may be in double quotes. The client returns it unchanged.
    const std::lock_guard lock(mutex_);
    cookie_ = set.substr(0, set.find(';'));
  }
  auto document = parsed(std::move(response.body), what);
  const pugi::xml_node envelope = document->document_element();
  if (local_name(envelope.name()) != "Envelope") {
    if (!response.ok()) throw http::status_error(what, response.status, response.headers);
    throw Error(HYPER_CORRUPT, what, "the answer to " + std::string(method) + " is no SOAP")
        .retryable();
  }
  if (const auto fault = descend(envelope, "Body/Fault")) throw soap_fault(what, fault);
  if (!response.ok()) throw http::status_error(what, response.status, response.headers);
  Answer answer(std::move(document));
  if (const auto unread = unauthenticated(answer.response()))
    throw method_fault(what, child(unread, "fault"));
  return answer;
}

/// Logs in through the LoginGate: if the server refuses one login, all users of the account fail.
void Session::login(const http::Cancel& cancel) {
  const std::string account =
      fingerprint_of(settings_.endpoint.authority + '\n' + settings_.username + '\n' +
                     settings_.password + settings_.token);
  LoginGate::global().pass(account, cancel, [&] { log_in(cancel); });
}

void Session::log_in(const http::Cancel& cancel) {
  const bool by_token = !settings_.token.empty();
  Args args;
  if (!by_token) args.text("userName", settings_.username).text("password", settings_.password);
  {
    const std::lock_guard lock(mutex_);
    cookie_.clear();
  }
  const Answer answer =
      post(by_token ? "LoginByToken" : "Login", content_.session_manager, args.str(),
           "cannot log in to " + settings_.endpoint.authority +
               (by_token ? " by the token" : " as " + settings_.username),
           cancel, kControlStall, by_token ? security_header(settings_.token) : std::string());
  const std::lock_guard lock(mutex_);
  key_ = text(answer.value(), "key");
  user_ = text(answer.value(), "userName");
  if (user_.empty()) user_ = settings_.username;
  ++generation_;
}

void Session::logout() noexcept {
  try {
    post("Logout", content_.session_manager, "", "cannot log out", http::Cancel::never(), kGoodbye);
  } catch (...) {  // it expires by itself
  }
}

/// Repeats the call while the server answers that it is too busy: it has not begun the call then.
Answer Session::patiently(const char* method, const Ref& self, const std::string& args,
                          const std::string& what, const http::Cancel& cancel) {
  std::chrono::nanoseconds wait = std::chrono::milliseconds(500);
  for (int tries = 1;; ++tries) {
    try {
      return post(method, self, args, what, cancel);
    } catch (const Fault&) {
      throw;
    } catch (const Error& error) {
      if (error.native_code() != 503 || tries == kBusyTries) throw;
      wait = std::max<std::chrono::nanoseconds>(wait,
                                                std::chrono::nanoseconds(error.retry_after_ns()));
    }
    pause(std::min<std::chrono::nanoseconds>(wait, kMostBusyWait), cancel);
    wait *= 2;
  }
}

Answer Session::call(const char* method, const Ref& self, const Args& args, const std::string& what,
                     const http::Cancel& cancel) {
  uint64_t generation = 0;
  {
    const std::lock_guard lock(mutex_);
    generation = generation_;
  }
  try {
    return patiently(method, self, args.str(), what, cancel);
  } catch (const Fault& fault) {
    if (!fault.is("NotAuthenticated")) throw;
  }
  {
    const std::lock_guard renewing(login_mutex_);
    bool renewed = false;
    {
      const std::lock_guard lock(mutex_);
      renewed = generation_ != generation;  // by another thread
    }
    if (!renewed) {
      login(cancel);
      if (renewed_) renewed_();
    }
  }
  return patiently(method, self, args.str(), what, cancel);
}

void Session::keep_alive() {
  const auto stop = stop_.cancel();
  uint64_t before = calls_;
  try {
    for (;; before = calls_) {
      pause(kKeepAlive, stop);
      if (calls_ != before) continue;
      try {
        post("CurrentTime", kServiceInstance, "", "cannot keep the session", stop);
      } catch (const Error&) {  // the next call that needs the session reports it
      }
    }
  } catch (...) {  // stopped
  }
}

}  // namespace hyper::vsphere
