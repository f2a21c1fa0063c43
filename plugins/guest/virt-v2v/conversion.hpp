// SPDX-License-Identifier: Apache-2.0
// One run of virt-v2v-in-place over overlays of its own: nothing reaches the disks before commit().
// One thread.
#ifndef HYPERHOST_VIRT_V2V_CONVERSION_HPP
#define HYPERHOST_VIRT_V2V_CONVERSION_HPP

#include <hyper/draft/block.hpp>
#include <string>
#include <vector>

#include "plugins/guest/scratch/scratch.hpp"
#include "plugins/guest/virt-v2v/command.hpp"
#include "plugins/guest/virt-v2v/words.hpp"

namespace hyperhost::virt_v2v {

/// Finds virt-v2v-in-place and asks what it can do. Throws hyper::Error that says how to get it.
struct Tools {
  Tools(hyper::Op op, const Settings& settings);
  Program program;
  Capabilities capabilities;
  std::string qemu_img;
};

class Conversion {
 public:
  /// Makes an overlay over each disk.
  Conversion(hyper::Op op, const Settings& settings, const Tools& tools, const hyper::Doc& request,
             const std::vector<hyper::BlockRef>& disks);

  /// Runs it to its end. Returns whether it converted the guest; messages() says why not.
  bool run();
  const Messages& messages() const { return messages_; }
  /// What a failure means.
  hyper::Error error() const;
  /// Writes what the overlays have into the disks.
  void commit();

 private:
  void qemu_img(std::vector<std::string> arguments, const std::string& doing) const;
  void write_file(const std::string& path, const std::string& text) const;

  const hyper::Op op_;
  const Settings& settings_;
  const Tools& tools_;
  const std::vector<hyper::BlockRef> disks_;
  guest::Scratch scratch_;
  hyper::AttachedBlocks attached_;  // gone before the directory is
  std::vector<DomainDisk> overlays_;
  Messages messages_;
  int32_t status_ = 0;
};

}  // namespace hyperhost::virt_v2v

#endif
