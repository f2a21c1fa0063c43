// SPDX-License-Identifier: Apache-2.0
// The guest plugin: what it refuses, what it runs, and what it answers. Any thread.
#ifndef HYPERHOST_VIRT_V2V_PLUGIN_HPP
#define HYPERHOST_VIRT_V2V_PLUGIN_HPP

#include <hyper/draft/guest.hpp>

#include "plugins/guest/virt-v2v/settings.hpp"

namespace hyperhost::virt_v2v {

class V2vPlugin final : public hyper::GuestInstance {
 public:
  static std::unique_ptr<V2vPlugin> open(const hyper::Doc& options, hyper::Op op);

  std::string plan(hyper::Op op, const hyper::Doc& request) override;
  /// A whole conversion that is thrown away: virt-v2v has no other way to tell.
  std::string inspect(hyper::Op op, const hyper::Doc& request,
                      const std::vector<hyper::BlockRef>& disks) override;
  std::string prepare(hyper::Op op, const hyper::Doc& request,
                      const std::vector<hyper::BlockRef>& disks) override;

 private:
  explicit V2vPlugin(Settings settings) : settings_(std::move(settings)) {}
  const Settings settings_;
};

/// What Windows needs of the host, on a bus that it has no driver for: throws hyper::Error where
/// that is missing.
void check_windows_files(const Settings& settings, const std::string& bus);

}  // namespace hyperhost::virt_v2v

#endif
