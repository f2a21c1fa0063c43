// SPDX-License-Identifier: Apache-2.0
// Which process wrote something down, and whether it still lives: host name, boot, process
// namespace, pid and start time, so that neither a reused pid nor another machine is mistaken for
// it. Free functions; any thread.
#pragma once

#include <string>

namespace hyperhost {

/// "HOST BOOT NAMESPACE PID START": of this process; constant.
const std::string& this_process();

/// The kernel's boot id. If it changed, data that was not synced may be lost.
std::string this_boot();

enum class ProcessState {
  kAlive,
  kGone,
  kUnseen,  ///< of another machine or process namespace: not visible from here
};
/// identity: as this_process() gave it, then or elsewhere. Anything else is kGone.
ProcessState process_state(const std::string& identity);

/// "process 4711 on HOST", for people.
std::string process_name(const std::string& identity);

}  // namespace hyperhost
