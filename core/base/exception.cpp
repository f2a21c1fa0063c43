// SPDX-License-Identifier: Apache-2.0
#include "core/base/exception.hpp"

#include <new>
#include <system_error>

namespace hyperhost {

Error error_of(const std::exception& failure) {
  if (const auto* error = dynamic_cast<const Error*>(&failure)) return *error;
  Diagnostic out;
  out.detail = failure.what();
  const auto* system = dynamic_cast<const std::system_error*>(&failure);
  if (system != nullptr && system->code() == std::errc::resource_unavailable_try_again) {
    out.code = Code::kBusy;  // pthread_create's EAGAIN
    out.summary = "the system lets this process start no further thread";
    out.hint =
        "raise the limit (ulimit -u, or pids.max of the container), or run fewer VMs and disks at "
        "once";
    out.retryable = true;
  } else if (dynamic_cast<const std::bad_alloc*>(&failure) != nullptr) {
    out.code = Code::kBusy;
    out.summary = "out of memory";
    out.hint = "give this process more memory, or run fewer VMs and disks at once";
    out.retryable = true;
  } else {
    out.summary = "internal error";
  }
  if (system != nullptr) out.native_code = system->code().value();
  return Error(std::move(out));
}

}  // namespace hyperhost
