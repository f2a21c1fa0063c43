// SPDX-License-Identifier: Apache-2.0
// Part of the C++17 face of the plugin ABI: failures are exceptions inside a plugin, and
// diagnostics and status codes at its boundary. No exception ever crosses the ABI.
#ifndef HYPER_ERROR_HPP
#define HYPER_ERROR_HPP

#include <cerrno>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "host.h"

namespace hyper {

/// Ends a call. The boundary turns it into a diagnostic with this text and this status. Chained
/// setters set the optional members: `throw Error(HYPER_CONFIG, "no such file").at("/path");`
class Error : public std::runtime_error {
 public:
  Error(hyper_st status, std::string summary, std::string detail = {})
      : std::runtime_error(detail.empty() ? summary : summary + ": " + detail),
        status_(status),
        summary_(std::move(summary)),
        detail_(std::move(detail)) {}

  Error& hint(std::string text) { return hint_ = std::move(text), *this; }
  Error& at(std::string path) { return path_ = std::move(path), *this; }
  /// The stable id of a finding ("guest.fstab-by-name").
  Error& rule(std::string id) { return rule_ = std::move(id), *this; }
  Error& native(int64_t code) { return native_ = code, *this; }
  Error& retryable(uint64_t after_ns = 0) { return retryable_ = true, after_ns_ = after_ns, *this; }

  hyper_st status() const { return status_; }
  const std::string& summary() const { return summary_; }
  const std::string& detail() const { return detail_; }
  bool is_retryable() const { return retryable_; }
  uint64_t retry_after_ns() const { return after_ns_; }
  int64_t native_code() const { return native_; }

  hyper_diag diag(int32_t severity = HYPER_SEVERITY_ERROR) const {
    hyper_diag diag{};
    diag.size = sizeof diag;
    diag.severity = severity;
    diag.code = status_;
    diag.flags = retryable_ ? HYPER_DIAG_RETRYABLE : 0u;
    diag.summary = summary_.c_str();
    diag.detail = detail_.empty() ? nullptr : detail_.c_str();
    diag.hint = hint_.empty() ? nullptr : hint_.c_str();
    diag.path = path_.empty() ? nullptr : path_.c_str();
    diag.native_code = native_;
    diag.retry_after_ns = after_ns_;
    diag.rule = rule_.empty() ? nullptr : rule_.c_str();
    return diag;
  }

 private:
  hyper_st status_;
  std::string summary_, detail_, hint_, path_, rule_;
  int64_t native_ = 0;
  uint64_t after_ns_ = 0;
  bool retryable_ = false;
};

/// A call of another side's table failed, and that side has reported why. Passes its status on
/// without a second report.
class Reported : public std::exception {
 public:
  explicit Reported(hyper_st status) : status_(status) {}
  hyper_st status() const { return status_; }
  const char* what() const noexcept override { return "already reported"; }

 private:
  hyper_st status_;
};

/// Throws Reported unless the status is HYPER_OK.
inline void check(hyper_st status) {
  if (status != HYPER_OK) throw Reported(status);
}

/// The status that fits an errno.
inline hyper_st status_of_errno(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return HYPER_NOTFOUND;
    case EEXIST:
      return HYPER_EXISTS;
    case EACCES:
    case EPERM:
      return HYPER_AUTH;
    case ENOSPC:
    case EDQUOT:
      return HYPER_NOSPACE;
    case EBUSY:
    case EAGAIN:
      return HYPER_BUSY;
    case ECANCELED:
      return HYPER_CANCELLED;
    default:
      return HYPER_IO;
  }
}

inline Error errno_error(int error_number, std::string what_failed) {
  Error error(status_of_errno(error_number), std::move(what_failed),
              std::system_category().message(error_number));
  error.native(error_number);
  return error;
}

namespace detail {
/// The host's table, set by start(). Hidden visibility gives each plugin its own. Otherwise the
/// linker could make the static of this inline function unique in the process (STB_GNU_UNIQUE).
#if defined(__GNUC__)
__attribute__((visibility("hidden")))
#endif
inline const hyper_host*&
host_slot() {
  static const hyper_host* host = nullptr;
  return host;
}

inline hyper_st report(hyper_op* op, const Error& error) noexcept {
  const hyper_host* host = host_slot();
  const hyper_diag diag = error.diag();
  if (host != nullptr && host->report != nullptr) host->report(op, &diag);
  return error.status() < 0 ? error.status() : HYPER_FAIL;
}

/// What a function of the standard library threw: of a file system, a thread, a lock. A failure
/// that no errno stands for is an internal error.
inline Error error_of(const std::system_error& failure) {
  const std::error_condition condition = failure.code().default_error_condition();
  if (condition.category() != std::generic_category() || condition.value() == 0)
    return Error(HYPER_FAIL, "internal error of the plugin", failure.what());
  Error error(status_of_errno(condition.value()), failure.what());
  error.native(condition.value());
  return error;
}

/// Runs f at the boundary and turns every exception into a reported diagnostic and a status.
template <class F>
hyper_st guard(hyper_op* op, F&& f) noexcept {
  try {
    try {
      f();
      return HYPER_OK;
    } catch (const Reported& reported) {
      return reported.status() < 0 ? reported.status() : HYPER_FAIL;
    } catch (const Error& error) {
      return report(op, error);
    } catch (const std::bad_alloc&) {
      return report(op, Error(HYPER_FAIL, "out of memory"));
    } catch (const std::system_error& error) {
      return report(op, error_of(error));
    } catch (const std::exception& error) {
      return report(op, Error(HYPER_FAIL, "internal error of the plugin", error.what()));
    } catch (...) {
      return report(op, Error(HYPER_FAIL, "internal error of the plugin: unknown exception"));
    }
  } catch (...) {  // out of memory while making the report
    return HYPER_FAIL;
  }
}

/// As above for a call with flags: a bit that is not in `known` fails the call before f runs.
template <class F>
hyper_st guard(hyper_op* op, uint32_t flags, uint32_t known, F&& f) noexcept {
  return guard(op, [&] {
    if ((flags & ~known) != 0)
      throw Error(HYPER_UNSUPPORTED, "this plugin does not know a flag of the call",
                  "flags " + std::to_string(flags));
    f();
  });
}
}  // namespace detail
}  // namespace hyper

#endif
