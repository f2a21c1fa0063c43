// SPDX-License-Identifier: Apache-2.0
// What went wrong, in one shape for the whole core: a Diagnostic is a value that is collected,
// printed, audited and sent over the progress API; an Error carries one and ends an operation.
// Both are plain values: any thread may own one.
#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace hyperhost {

enum class Severity : int32_t { kInfo = 0, kWarning = 1, kError = 2 };

/// The same numbers as hyper_st of the plugin ABI (sdk/include/hyper/types.h).
enum class Code : int32_t {
  kOk = 0,
  kFail = -1,
  kCancelled = -2,
  kUnsupported = -3,
  kConfig = -4,
  kAuth = -5,
  kNotFound = -6,
  kIo = -7,
  kBusy = -8,
  kNoSpace = -9,
  kCorrupt = -10,
  kExists = -11,
};

/// "io", "no_space" …: stable names for JSON output, audit and metrics.
const char* code_name(Code code);
const char* severity_name(Severity severity);

struct Diagnostic {
  Severity severity = Severity::kError;
  Code code = Code::kFail;
  std::string summary;  ///< one sentence: what is wrong
  std::string detail;   ///< more, may be several lines; may be empty
  std::string hint;     ///< what to do about it; may be empty
  std::string path;     ///< JSON Pointer into the plan, or "vm/NAME/disk/ID"; may be empty
  std::string where;    ///< "file:line:column" where known
  std::string rule;     ///< stable id of a finding ("guest.fstab-by-name"); may be empty
  bool retryable = false;
  int64_t native_code = 0;  ///< errno, HTTP status, exit status; 0 = none
  std::chrono::nanoseconds retry_after{0};
};

/// "where: path: summary: detail (hint)", the parts that are set. One line when detail is.
std::string to_string(const Diagnostic& diagnostic);

/// Ends an operation. what() is to_string() of the diagnostic.
class Error : public std::runtime_error {
 public:
  explicit Error(Diagnostic diagnostic);
  Error(Code code, std::string summary, std::string detail = {}, std::string hint = {});

  const Diagnostic& diagnostic() const { return diagnostic_; }
  Code code() const { return diagnostic_.code; }

 private:
  Diagnostic diagnostic_;
};

/// An Error from errno: the code follows from it (ENOSPC → kNoSpace, ENOENT → kNotFound …).
Error errno_error(int error_number, const std::string& what_failed);

}  // namespace hyperhost
