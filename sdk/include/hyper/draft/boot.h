/* SPDX-License-Identifier: Apache-2.0
 * DRAFT, not part of ABI 1.0: it may change or go until its id loses "/draft-1".
 * Interface "hyper.boot/draft-1": starts a machine and reports how far its boot got. */
#ifndef HYPER_DRAFT_BOOT_H
#define HYPER_DRAFT_BOOT_H

#include "block.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_IFACE_BOOT "hyper.boot/draft-1"

typedef struct hyper_boot {
  uint32_t size;
  uint32_t flags; /* 0 */

  hyper_st (*open)(hyper_op* op, uint32_t flags, const hyper_doc* options,
                   void** self) HYPER_NOEXCEPT;
  void (*close)(void* self, hyper_op* op) HYPER_NOEXCEPT;
  /* Touches no disk. The request: boot.request of the SDK's schemas. Emits boot.plan.
   * HYPER_UNSUPPORTED (reported): it cannot start this machine. */
  hyper_st (*plan)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                   hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* Starts "machine" with the disks. The request is that of plan, with "picture" and "scratch_dir".
   * A disk with HYPER_BLOCK_WRITE takes what the guest writes; the plugin drops writes to others.
   * The host drops what a disk took. The machine runs until it reaches "require" or "timeout_ms" is
   * over; nothing runs afterwards. Emits boot.result: a guest that does not boot is
   * a result (HYPER_OK), which the host judges. HYPER_UNSUPPORTED: this machine cannot start
   * guests. */
  hyper_st (*check)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                    const hyper_block* disks, uint32_t count, hyper_emit emit,
                    void* arg) HYPER_NOEXCEPT;

  const void* (*get_ext)(void* self, const char* id, void** ext_self)HYPER_NOEXCEPT;
} hyper_boot;

HYPER_EXTERN_C_END

#endif
