/* SPDX-License-Identifier: Apache-2.0
 * DRAFT, not part of ABI 1.0: it may change or go until its id loses "/draft-1".
 * Host extension "hyper.listener/draft-1": a child process that serves on a socket which the plugin
 * made, so that the socket needs no name that others see or that a kill leaves behind. */
#ifndef HYPER_DRAFT_LISTENER_H
#define HYPER_DRAFT_LISTENER_H

#include "../types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_EXT_LISTENER "hyper.listener/draft-1"

typedef struct hyper_listener {
  uint32_t size;
  uint32_t flags; /* 0 */

  /* As hyper_spawn.start (host.h), whose alive() and stop() take the process. The child inherits
   * `socket`, which listens or is one end of a pair, as systemd passes one: as descriptor 3, with
   * LISTEN_FDS=1 and its own pid in LISTEN_PID. The caller keeps its own descriptor and may close
   * it after the call. */
  hyper_st (*start)(hyper_op* op, uint32_t flags, const char* const* argv, int32_t socket,
                    uint64_t* process) HYPER_NOEXCEPT;
} hyper_listener;

HYPER_EXTERN_C_END

#endif
