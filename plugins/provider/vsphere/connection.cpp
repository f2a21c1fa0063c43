// SPDX-License-Identifier: Apache-2.0
#include "connection.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "content.hpp"
#include "datastore_source.hpp"
#include "open_vm.hpp"
#include "preflight.hpp"
#include "snapshot.hpp"

namespace hyper::vsphere {
namespace {

/// The content ids that describe_vm reported, by disk.
std::map<std::string, std::string> contents_in(const Doc& request) {
  std::map<std::string, std::string> out;
  request.each_member("/content_ids", [&](const std::string& disk, const Doc& content) {
    if (content.is_string()) out[disk] = content.string();
  });
  return out;
}

/// "host:port" of a URL, lower case, with the port written out.
std::string authority_of(const std::string& url) {
  const std::size_t begin = url.find("://");
  if (begin == std::string::npos) return {};
  const std::size_t end = url.find_first_of("/?#", begin + 3);
  std::string out = url.substr(begin + 3, end == std::string::npos ? end : end - begin - 3);
  out = lower(out);
  const std::size_t colon = out.rfind(':');
  if (colon == std::string::npos || out.find(']', colon) != std::string::npos) out += ":443";
  return out;
}

}  // namespace

std::unique_ptr<Connection> Connection::connect(const Doc& config, Op op) {
  const Settings settings = settings_from(config);
  if (settings.http.tls.insecure)
    op.warn(Error(HYPER_OK, "the certificate of " + settings.endpoint.authority +
                                " is not checked: whoever sits in between reads the password")
                .hint("Set tls.thumbprint or tls.ca_file instead of tls.insecure.")
                .at("/tls/insecure"));
  return std::make_unique<Connection>(settings, vm_options_from(config), op);
}

Connection::Connection(const Settings& settings, const VmOptions& options, Op op)
    : session_(settings, op),
      names_(session_),
      index_(session_),
      clusters_(session_),
      options_(options),
      slots_(settings.streams_per_host) {
  session_.on_renewed([this] {
    const std::lock_guard lock(mutex_);
    if (session_debt_) session_debt_->name(session_.fingerprint(), Op(nullptr));
  });
}

Connection::~Connection() {
  Connection::disconnect(Op(nullptr));
}

void Connection::disconnect(Op op) {
  const std::lock_guard lock(mutex_);
  if (session_debt_) session_debt_->settle(op);
  session_debt_.reset();
}

void Connection::list_vms(Op op, const char* pattern, const Emit& emit) {
  vsphere::list_vms(session_, names_, pattern == nullptr ? "" : pattern, op, emit);
}

VmInfo Connection::read(const Ref& vm, Op op) {
  VmInfo out = read_vm(session_, names_, vm, op);
  set_leftovers_apart(session_, out, op);
  return out;
}

std::string Connection::describe_vm(Op op, const std::string& vm) {
  const VmInfo info = read(find_vm(session_, names_, index_, vm, op), op);
  VmInfo then = info;  // the VM at the time when its disks are read
  if (options_.power == VmOptions::Power::kShutdown) then.power = "off";
  using Transport = VmOptions::Transport;
  const bool ranges = options_.transport == Transport::kDatastore ||
                      (options_.transport == Transport::kAuto && ranges_pay(then, options_));
  const bool all =
      ranges && std::none_of(info.disks.begin(), info.disks.end(), [&](const Disk& disk) {
        return no_flat_file(info, disk).has_value();
      });
  const auto cluster = clusters_.settings(info.cluster_ref, op);
  return describe(names_, info, all, contents_of(session_, info, op), cluster.get(), op);
}

void Connection::preflight(Op op, const Doc& request) {
  check_vm(session_, hosts_tried_,
           read(described_vm(session_, names_, index_, request.need_string("/vm"), op), op),
           merged(options_, request), op);
}

std::unique_ptr<ProviderVm> Connection::open_vm(Op op, const Doc& request) {
  VmInfo info = read(described_vm(session_, names_, index_, request.need_string("/vm"), op), op);
  std::string task_id = request.string("/task_id");
  if (task_id.empty()) task_id = info.ref.id;
  owe_session(task_id, op);
  return std::make_unique<OpenVm>(*this, std::move(info), merged(options_, request), task_id,
                                  contents_in(request), op);
}

bool Connection::by_lease(const Ref& vm) {
  const std::lock_guard lock(mutex_);
  return by_lease_.count(vm.id) != 0;
}

bool Connection::take_by_lease(const Ref& vm) {
  const std::lock_guard lock(mutex_);
  return by_lease_.insert(vm.id).second;
}

void Connection::owe_session(const std::string& task_id, Op op) {
  const std::lock_guard lock(mutex_);
  if (session_debt_) return;
  session_debt_.emplace(session_, "session", Ref(), task_id, op);
  session_debt_->name(session_.fingerprint(), op);
}

http::Client& Connection::client_for(std::string& url, const std::string& thumbprint,
                                     bool& same_host) {
  if (const std::size_t scheme = url.find("://"); scheme != std::string::npos)
    url.replace(0, scheme, lower(url.substr(0, scheme)));
  if (url.rfind("https://", 0) != 0)
    throw Error(HYPER_UNSUPPORTED, "the server offers a download that is not by https");
  const std::string& own = session_.settings().endpoint.authority;
  // "https://*/…", "https://*:443/…": the address of the endpoint, with its port.
  if (const std::size_t host = 8; url.compare(host, 1, "*") == 0) {
    const std::size_t path = url.find('/', host);
    url = session_.settings().endpoint.base() +
          (path == std::string::npos ? std::string() : url.substr(path));
  }
  same_host = authority_of(url) == own;
  if (same_host && thumbprint.empty()) return session_.client();
  http::Settings settings = session_.settings().http;
  if (!settings.tls.insecure) {
    // A thumbprint in the plan belongs to the endpoint's certificate, not to this host's.
    if (!same_host) settings.tls.thumbprint.clear();
    if (!thumbprint.empty()) settings.tls.thumbprint = thumbprint;
  }
  const std::lock_guard lock(mutex_);
  auto& client = clients_[settings.tls.thumbprint];
  if (!client) client = std::make_unique<http::Client>(settings);
  return *client;
}

}  // namespace hyper::vsphere
