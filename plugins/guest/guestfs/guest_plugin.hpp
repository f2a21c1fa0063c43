// SPDX-License-Identifier: Apache-2.0
// hyper.guest by libguestfs. Each call has an appliance of its own; any number may run at once.
#ifndef HYPERHOST_GUESTFS_GUEST_PLUGIN_HPP
#define HYPERHOST_GUESTFS_GUEST_PLUGIN_HPP

#include <hyper/draft/guest.hpp>
#include <memory>
#include <string>
#include <vector>

#include "plugins/guest/guestfs/settings.hpp"

namespace hyperhost::guestfs {

class GuestPlugin final : public hyper::GuestInstance {
 public:
  static std::unique_ptr<GuestPlugin> open(const hyper::Doc& options, hyper::Op op);
  std::string plan(hyper::Op op, const hyper::Doc& request) override;
  std::string inspect(hyper::Op op, const hyper::Doc& request,
                      const std::vector<hyper::BlockRef>& disks) override;
  std::string prepare(hyper::Op op, const hyper::Doc& request,
                      const std::vector<hyper::BlockRef>& disks) override;

 private:
  explicit GuestPlugin(Settings settings) : settings_(std::move(settings)) {}
  Settings settings_;
};

}  // namespace hyperhost::guestfs

#endif
