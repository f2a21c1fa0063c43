// SPDX-License-Identifier: Apache-2.0
// The server's address and the settings of the connection, from the plugin's options. Plain values.
#ifndef HYPERHOST_PLUGINS_VSPHERE_ENDPOINT_HPP
#define HYPERHOST_PLUGINS_VSPHERE_ENDPOINT_HPP

#include <chrono>
#include <hyper/op.hpp>
#include <string>

#include "plugins/http/settings.hpp"

namespace hyper::vsphere {

struct Endpoint {
  std::string authority;  ///< "host:port", lower case; ":443" if none was written
  std::string sdk;        ///< "https://host:port/sdk"
  std::string base() const { return "https://" + authority; }
};

/// ASCII only.
std::string lower(std::string text);

/// "host", "https://host:port", "https://host/sdk". Throws HYPER_CONFIG for anything else.
Endpoint parse_endpoint(const std::string& written);

struct Settings {
  Endpoint endpoint;
  std::string username, password;
  std::string token;  ///< a SAML assertion instead of both
  http::Settings http;
  uint32_t streams_per_host = 4, datastore_connections = 4;
  std::chrono::nanoseconds check_interval = std::chrono::minutes(1);
};

Settings settings_from(const Doc& config);

/// The options that a plan may set for each VM.
struct VmOptions {
  enum class Transport { kAuto, kLease, kDatastore } transport = Transport::kAuto;
  enum class Power { kAsIs, kShutdown, kRequireOff } power = Power::kAsIs;
  enum class Quiesce { kAuto, kAlways, kNever } quiesce = Quiesce::kAuto;
  uint64_t shutdown_timeout_ns = 300'000'000'000;
  bool power_off_at_last = false;
  bool restore_power = false;
  bool skip_unallocated = true;
};

VmOptions vm_options_from(const Doc& config);
/// The provider's options, overridden by those of the request ({"vm", "options": {…}}).
VmOptions merged(VmOptions base, const Doc& request);

}  // namespace hyper::vsphere

#endif
