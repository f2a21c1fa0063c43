// SPDX-License-Identifier: Apache-2.0
// Copies of audit lines to syslog or journald: one datagram each, dropped and counted when the
// receiver does not take it at once. Owned by one AuditLogger, which serialises its calls.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/watch/audit/audit_file.hpp"

namespace hyperhost {

class AuditCopy {
 public:
  enum class Format { kSyslog, kJournald };
  AuditCopy(Format format, std::string socket_path);

  /// Never blocks, never throws.
  void send(std::string_view line) noexcept;
  uint64_t lost() const { return lost_; }

 private:
  bool connect();

  const Format format_;
  const std::string socket_path_;
  FileDescriptor socket_;
  uint64_t lost_ = 0;
};

}  // namespace hyperhost
