// SPDX-License-Identifier: Apache-2.0
// Where runs keep what a later run needs to resume. One narrow interface; StateStore implements it
// over SQLite. Owned by the host, shared with its sessions. Thread-safe. Every call throws Error
// when the store fails.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace hyperhost {

/// How far a target (a VM's directory or its place in a store) has come. `disk` "" is the VM.
struct ResumeRecord {
  std::string target, disk;
  std::string fingerprint;  ///< of the request and the source; a different one cannot be resumed
  std::string phase;        ///< VM: closing, finished; disk: writing, written
  nlohmann::json token;     ///< by which the storage finds the unfinished object again
  nlohmann::json state;     ///< the converter's, as of its last checkpoint
  nlohmann::json result;    ///< of a written disk, or of a finished VM
};

class ResumeStore {
 public:
  virtual ~ResumeStore() = default;

  // Each is durable when it returns.
  virtual std::vector<ResumeRecord> resume_records(const std::string& target) = 0;
  virtual void save_resume(const ResumeRecord& record) = 0;
  /// Replaces all of the target's records by the VM's.
  virtual void finish_resume(const ResumeRecord& record) = 0;
  virtual void forget_resume(const std::string& target) = 0;
  /// One disk's.
  virtual void forget_resume(const std::string& target, const std::string& disk) = 0;
};

}  // namespace hyperhost
