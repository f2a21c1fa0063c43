// SPDX-License-Identifier: Apache-2.0
#include "endpoint.hpp"

#include <algorithm>
#include "xml.hpp"

namespace hyper::vsphere {
namespace {

[[noreturn]] void refuse(const std::string& why) {
  throw Error(HYPER_CONFIG, "this endpoint cannot be: " + why)
      .hint("write https://HOST, https://HOST:PORT or HOST")
      .at("/endpoint");
}

/// A SAML assertion, ready to stand inside another document: as it was issued, since it is signed.
std::string assertion_in(const std::string& written) {
  const auto refuse_token = [](const std::string& why) {
    return Error(HYPER_CONFIG, "this is no SAML token", why)
        .hint("It is the XML of an Assertion, as `govc session.login -issue` prints it.")
        .at("/token");
  };
  pugi::xml_document document;
  const auto parsed = document.load_buffer(written.data(), written.size(), pugi::parse_default,
                                           pugi::encoding_utf8);
  const pugi::xml_node root = document.document_element();
  if (!parsed || local_name(root.name()) != "Assertion")
    throw refuse_token(parsed ? "its root is no Assertion" : parsed.description());
  if (written.find("<!DOCTYPE") != std::string::npos) throw refuse_token("it has a DOCTYPE");
  const std::size_t begin = written.find(std::string("<") + root.name());
  const std::size_t end = written.rfind('>');
  return written.substr(begin, end - begin + 1);
}

VmOptions::Transport transport_of(const std::string& text) {
  if (text == "lease") return VmOptions::Transport::kLease;
  if (text == "datastore") return VmOptions::Transport::kDatastore;
  return VmOptions::Transport::kAuto;
}

VmOptions::Power power_of(const std::string& text) {
  if (text == "shutdown") return VmOptions::Power::kShutdown;
  if (text == "require-off") return VmOptions::Power::kRequireOff;
  return VmOptions::Power::kAsIs;
}

VmOptions::Quiesce quiesce_of(const std::string& text) {
  if (text == "always") return VmOptions::Quiesce::kAlways;
  if (text == "never") return VmOptions::Quiesce::kNever;
  return VmOptions::Quiesce::kAuto;
}

}  // namespace

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

Endpoint parse_endpoint(const std::string& written) {
  std::string rest = written;
  if (const std::size_t scheme = rest.find("://"); scheme != std::string::npos) {
    if (lower(rest.substr(0, scheme)) != "https") refuse("it must be https");
    rest.erase(0, scheme + 3);
  }
  const std::size_t slash = rest.find('/');
  const std::string path = slash == std::string::npos ? "" : rest.substr(slash);
  if (!path.empty() && path != "/" && path != "/sdk" && path != "/sdk/")
    refuse("its path is not /sdk");
  std::string authority = rest.substr(0, slash);
  if (authority.find('@') != std::string::npos)
    refuse("user and password have options of their own");
  if (authority.empty() || authority.find_first_of("?#% \"<>\\") != std::string::npos)
    refuse("there is no host in it");
  authority = lower(authority);
  const std::size_t colon = authority.rfind(':');
  const bool has_port =
      colon != std::string::npos && authority.find(']', colon) == std::string::npos;
  if (has_port) {
    const std::string port = authority.substr(colon + 1);
    if (port.empty() || port.size() > 5 ||
        port.find_first_not_of("0123456789") != std::string::npos || std::stoi(port) > 65535 ||
        std::stoi(port) == 0)
      refuse("its port is none");
  } else {
    authority += ":443";
  }
  Endpoint out;
  out.authority = authority;
  out.sdk = "https://" + authority + "/sdk";
  return out;
}

Settings settings_from(const Doc& config) {
  Settings out;
  out.endpoint = parse_endpoint(config.string("/endpoint"));
  out.username = config.string("/username");
  out.password = config.string("/password");
  if (const std::string token = config.string("/token"); !token.empty()) {
    if (!out.password.empty())
      throw Error(HYPER_CONFIG, "a login is by password or by token, not by both").at("/token");
    out.token = assertion_in(token);
  } else if (out.username.empty() || out.password.empty()) {
    throw Error(HYPER_CONFIG, std::string("there is no ") +
                                  (out.username.empty() ? "username" : "password") +
                                  " to log in with")
        .hint("Set username and password, or token.")
        .at(out.username.empty() ? "/username" : "/password");
  }
  out.http.tls.ca_file = config.string("/tls/ca_file");
  out.http.tls.thumbprint = config.string("/tls/thumbprint");
  if (!out.http.tls.thumbprint.empty()) {
    try {
      http::normal_thumbprint(out.http.tls.thumbprint);
    } catch (Error& error) {
      throw error.at("/tls/thumbprint");
    }
  }
  out.http.tls.insecure = config.boolean("/tls/insecure", false);
  out.http.proxy = config.string("/proxy");
  out.http.stall_timeout = std::chrono::milliseconds(
      std::max<int64_t>(config.integer("/stall_timeout", 300'000'000'000) / 1'000'000, 1));
  out.http.stall_bytes = 64u << 10;  // fewer bytes in the stall timeout count as no progress
  out.streams_per_host = static_cast<uint32_t>(config.integer("/max_streams_per_host", 4));
  out.datastore_connections = static_cast<uint32_t>(config.integer("/datastore_connections", 4));
  out.check_interval = std::chrono::nanoseconds(
      std::max<int64_t>(config.integer("/check_interval", 60'000'000'000), 0));
  return out;
}

VmOptions vm_options_from(const Doc& config) {
  VmOptions out;
  out.transport = transport_of(config.string("/transport"));
  out.power = power_of(config.string("/power"));
  out.quiesce = quiesce_of(config.string("/quiesce"));
  out.shutdown_timeout_ns = static_cast<uint64_t>(
      std::max<int64_t>(config.integer("/shutdown_timeout", 300'000'000'000), 0));
  out.power_off_at_last = config.string("/shutdown_fallback") == "power-off";
  out.restore_power = config.boolean("/restore_power", false);
  out.skip_unallocated = config.boolean("/skip_unallocated", true);
  return out;
}

VmOptions merged(VmOptions base, const Doc& request) {
  const Doc options = request.at("/options");
  if (options.is_string("/transport")) base.transport = transport_of(options.string("/transport"));
  if (options.is_string("/power")) base.power = power_of(options.string("/power"));
  if (options.is_string("/quiesce")) base.quiesce = quiesce_of(options.string("/quiesce"));
  if (options.is_integer("/shutdown_timeout"))
    base.shutdown_timeout_ns =
        static_cast<uint64_t>(std::max<int64_t>(options.integer("/shutdown_timeout"), 0));
  if (options.has("/shutdown_fallback"))
    base.power_off_at_last = options.string("/shutdown_fallback") == "power-off";
  base.restore_power = options.boolean("/restore_power", base.restore_power);
  base.skip_unallocated = options.boolean("/skip_unallocated", base.skip_unallocated);
  return base;
}

}  // namespace hyper::vsphere
