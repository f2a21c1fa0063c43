// SPDX-License-Identifier: Apache-2.0
// The provider "vsphere": VMs of a vCenter server or an ESXi host. README.md explains the options.
#include <hyper/plugin.hpp>

#include "connection.hpp"

namespace hyper::vsphere {
namespace {

struct VSphere {
  using Interfaces = hyper::Interfaces<Provider<Connection>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
  static void validate(const std::string&, const Doc& config, Op) { settings_from(config); }
};

}  // namespace
}  // namespace hyper::vsphere

HYPER_PLUGIN(hyper::vsphere::VSphere)
