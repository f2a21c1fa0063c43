/* SPDX-License-Identifier: Apache-2.0
 * DRAFT, not part of ABI 1.0: it may change or go until its id loses "/draft-1".
 * Interface "hyper.guest/draft-1": looks into a guest's disks and prepares it for another machine.
 * Documents: guest.request, guest.plan, guest.inspection and guest.result of the SDK's schemas. The
 * "machine" of a request is the one of boot.request too. */
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

  /* Touches no disk. The request, here and below: guest.request. Emits guest.plan.
   * HYPER_UNSUPPORTED (reported, with the reason). */
  hyper_st (*plan)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                   hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* Only reads. It reports findings with their rule. Emits guest.inspection. */
  hyper_st (*inspect)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                      const hyper_block* disks, uint32_t count, hyper_emit emit,
                      void* arg) HYPER_NOEXCEPT;

  /* Optional (NULL): changes the guest so that it boots on "machine". NULL: the plugin only
   * inspects. disks: all disks of the VM, in source order. Emits guest.result. After a failure the
   * host drops the writes. */
  hyper_st (*prepare)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                      const hyper_block* disks, uint32_t count, hyper_emit emit,
                      void* arg) HYPER_NOEXCEPT;

  const void* (*get_ext)(void* self, const char* id, void** ext_self)HYPER_NOEXCEPT;
} hyper_guest;

HYPER_EXTERN_C_END

#endif
