// SPDX-License-Identifier: Apache-2.0
// libguestfs' appliance with the VM's disks: a small machine of its own, in which a hostile file
// system or program can harm nothing else. It has no network. The disks reach it as NBD over Unix
// sockets. One thread.
#ifndef HYPERHOST_GUESTFS_APPLIANCE_HPP
#define HYPERHOST_GUESTFS_APPLIANCE_HPP

#include <guestfs.h>

#include <hyper/op.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "plugins/guest/guestfs/guest_files.hpp"
#include "plugins/guest/guestfs/settings.hpp"
#include "plugins/guest/guestfs/watchdog.hpp"
#include "plugins/guest/scratch/scratch.hpp"

namespace hyperhost::guestfs {

/// Where a disk is served.
struct ServedDisk {
  std::string socket, export_name;
  bool writable = false;
};

/// "1.48.6"
std::string library_version();

class Appliance final : public GuestFiles {
 public:
  /// Starts it. Throws hyper::Error, HYPER_CANCELLED (Reported) after a cancel.
  Appliance(hyper::Op op, const Settings& settings, const std::vector<ServedDisk>& disks);
  ~Appliance() override;
  Appliance(const Appliance&) = delete;
  Appliance& operator=(const Appliance&) = delete;

  /// Unmounts, writes everything through and stops it. Throws if a disk did not take a write.
  void finish();

  const std::string& accel() const { return accel_; }
  guestfs_h* handle() { return g_.get(); }

  /// The results of libguestfs' calls as values. Each throws what need() throws.
  std::string text(char* result);
  std::vector<std::string> words(char** result);
  std::map<std::string, std::string> pairs(char** result);
  /// Throws the error of the last call if it failed.
  void need(bool worked);
  /// The message of the last error.
  std::string last_error() const;
  /// 512-byte sectors that the appliance has read from disk number i.
  uint64_t bytes_read(unsigned disk);

  bool is_file(const std::string& path) override;
  bool is_directory(const std::string& path) override;
  std::optional<std::string> read(const std::string& path) override;
  std::string read_part(const std::string& path, uint64_t offset, uint64_t most) override;
  std::vector<std::string> list(const std::string& directory) override;
  uint64_t size(const std::string& path) override;
  uint64_t free_bytes(const std::string& path) override;
  std::string digest(const std::string& path) override;
  void write(const std::string& path, const std::string& content) override;
  void remove(const std::string& path) override;
  void copy(const std::string& from, const std::string& to) override;
  std::string run(const std::vector<std::string>& command) override;

 private:
  struct Close {
    void operator()(guestfs_h* g) const { guestfs_close(g); }
  };
  void make(const std::vector<ServedDisk>& disks, bool kvm);
  void launch(const std::vector<ServedDisk>& disks);
  void add(const ServedDisk& disk);
  void keep_message(const char* text, std::size_t length);

  hyper::Op op_;
  const Settings settings_;
  guest::Scratch scratch_{"hyperhost-guestfs-"};
  Watchdog watchdog_;
  std::string accel_, messages_;  ///< of its start, the last ones
  std::unique_ptr<guestfs_h, Close> g_;
};

}  // namespace hyperhost::guestfs

#endif
