/* SPDX-License-Identifier: Apache-2.0
 * DRAFT, not part of ABI 1.0: it may change or go until its id loses "/draft-1".
 * Interface "hyper.guest/draft-1": looks into a guest's disks and prepares it for another machine.
 *
 * "machine" is one neutral document for plan, prepare, boot and define: {"arch", "machine":
 * "pc|q35", "firmware", "secure_boot", "nvram", "tpm", "cpu": {...}, "memory_bytes", "rtc", "uuid",
 * "serial", "disks": [{"id","bus","order","boot","serial"}], "nics":
 * [{"id","mac","model","network", "connected"}], "os": {...}, "agent", "hyperv"}. */
#ifndef HYPER_DRAFT_GUEST_H
#define HYPER_DRAFT_GUEST_H

#include "block.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_IFACE_GUEST "hyper.guest/draft-1"

typedef struct hyper_guest {
  uint32_t size;
  uint32_t flags; /* 0 */

  /* Opens one instance per run of the host. It owns what VMs share: an appliance, drivers. */
  hyper_st (*open)(hyper_op* op, uint32_t flags, const hyper_doc* options,
                   void** self) HYPER_NOEXCEPT;
  void (*close)(void* self, hyper_op* op) HYPER_NOEXCEPT;

  /* Touches no disk. The request: {"vm": {...}, "target"?: {...}}. Emits {"families": ["linux"],
   * "steps": [...], "programs": [{"name","version"}], "scratch_bytes", "memory_bytes", "notes"}.
   * HYPER_UNSUPPORTED (reported, with the reason). */
  hyper_st (*plan)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                   hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* Only reads. The request is that of plan with "depth": "structures|files|deep", "max_bytes": N,
   * "keys"?. It reports findings with their rule. Emits {"roots":
   * [{"os","distro","version","arch","firmware","boot_disk", "caps": {...},"nics": [...],"mounts":
   * [...]}], "traces"?: {...}, "bytes_read"}. */
  hyper_st (*inspect)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                      const hyper_block* disks, uint32_t count, hyper_emit emit,
                      void* arg) HYPER_NOEXCEPT;

  /* Optional (NULL): changes the guest so that it boots on "machine". NULL: the plugin only
   * inspects. disks: all disks of the VM, in source order. Emits {"actions":
   * [{"rule","what","path"?,"before"?,"after"?}], "caps": {...}, "firstboot": N, "root"}. After a
   * failure the host drops the writes. */
  hyper_st (*prepare)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                      const hyper_block* disks, uint32_t count, hyper_emit emit,
                      void* arg) HYPER_NOEXCEPT;

  const void* (*get_ext)(void* self, const char* id, void** ext_self)HYPER_NOEXCEPT;
} hyper_guest;

HYPER_EXTERN_C_END

#endif
