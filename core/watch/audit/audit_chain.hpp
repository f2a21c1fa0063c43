// SPDX-License-Identifier: Apache-2.0
// How the lines of an audit log are chained, shared by its writer and its readers.
//
// Each line is a JSON object with `seq` (1, 2, 3 … over rotations and restarts) and `prev_hash`,
// the SHA-256 of the line before it without its newline; the very first has 64 zeros. Beside the
// log lies <log>.head with the seq and hash of the last line and the seq of the oldest line kept:
// it shows that lines were cut off at either end, which the chain alone cannot. Writers also hold
// their lock on it, since unlike the log it is never rotated.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace hyperhost {

inline constexpr size_t kAuditLineLimit = size_t{1} << 20;  ///< bytes; longer lines are not ours
inline constexpr unsigned kAuditKeepLimit = 1000;           ///< rotated files ever looked for

/// 64 zeros: what the first line names as its predecessor.
const std::string& audit_genesis();
/// SHA-256 in hex.
std::string audit_hash(std::string_view line);

struct AuditHead {
  uint64_t seq = 0;        ///< of the last line; 0 = nothing written yet
  std::string hash;        ///< of the last line; audit_genesis() when seq is 0
  uint64_t first_seq = 1;  ///< of the oldest line kept
};
std::string format_head(const AuditHead& head);
/// Nothing when `text` is not a head.
std::optional<AuditHead> parse_head(std::string_view text);

std::filesystem::path audit_head_path(const std::filesystem::path& log);
/// Rotation `number`: 0 is the log itself, 1 the file rotated last, and so on.
std::filesystem::path audit_file_path(const std::filesystem::path& log, unsigned number);

/// What the chain needs of a line; nothing when it is not one of ours (torn, edited).
struct AuditLink {
  uint64_t seq = 0;
  std::string prev_hash;
  bool follows_torn_line = false, rebuilt_head = false;  ///< notes the writer made
};
std::optional<AuditLink> parse_link(std::string_view line);

}  // namespace hyperhost
