// SPDX-License-Identifier: Apache-2.0
// Where an NBD server listens: a Unix socket for one user. A port of the loopback device is in
// os/loopback.hpp.
// Plain owners; one thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "core/os/fd.hpp"
#include "core/state/host_entries.hpp"

namespace hyperhost {

/// A Unix socket that one user alone may connect to. It goes with the object.
class NbdSocket {
 public:
  /// At a path that is free. Throws Error.
  static std::unique_ptr<NbdSocket> at(const std::filesystem::path& path);
  /// In a directory of our own that goes, too. journal: may be null; else cleanup removes what a
  /// kill leaves. user: the one who may connect; nothing = this process's.
  static std::unique_ptr<NbdSocket> anywhere(std::shared_ptr<Journal> journal,
                                             std::optional<uid_t> user = std::nullopt);
  ~NbdSocket();
  NbdSocket(const NbdSocket&) = delete;
  NbdSocket& operator=(const NbdSocket&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// The listening descriptor, once.
  Fd take() { return std::move(listener_); }
  /// "nbd+unix:///NAME?socket=PATH".
  std::string uri(const std::string& export_name) const;

 private:
  NbdSocket() = default;
  void listen(const std::filesystem::path& path);

  std::filesystem::path path_, directory_;  ///< directory_: "" = not ours
  Fd listener_;
  std::unique_ptr<HostEntry> entry_;
};

/// "nbd://127.0.0.1:PORT/NAME".
std::string loopback_uri(uint16_t port, const std::string& export_name);

}  // namespace hyperhost
