// SPDX-License-Identifier: Apache-2.0
// A time limit for calls that a plugin should answer soon: to connect, to list, to describe, to
// check. What moves a disk has none. Any thread.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "core/plugin/operation.hpp"

namespace hyperhost {

/// Calls f with an operation that is cancelled with `op`, or when the time is over; 0 = never. A
/// worker process that ignores the cancel is killed; a plugin in this process is waited for.
/// Warnings and notes reach `op`. Throws Error(kBusy), retryable, that names `who` ("provider
/// 'vcenter'") where f failed since its time was over.
void within(std::chrono::nanoseconds limit, const std::string& who, Operation& op,
            const std::function<void(Operation&)>& f);

}  // namespace hyperhost
