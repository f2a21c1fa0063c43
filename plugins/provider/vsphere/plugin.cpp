// SPDX-License-Identifier: Apache-2.0
// The provider "vsphere": VMs of a vCenter server or an ESXi host. Its table is at the end; what
// the words mean is in README.md.
#include <hyper/plugin.hpp>

#include "connection.hpp"

namespace hyper::vsphere {
namespace {

struct VSphere {
  using Interfaces = hyper::Interfaces<Provider<Connection>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
  static void validate(const std::string&, Doc config, Op) { settings_from(config); }
};

}  // namespace
}  // namespace hyper::vsphere

HYPER_PLUGIN(hyper::vsphere::VSphere)
