/* SPDX-License-Identifier: Apache-2.0
 * DRAFT, not part of ABI 1.0: it may change or go until the kinds that use it lose "/draft-1".
 * A disk as its guest sees it. A plugin may read it in any order and, with WRITE, write to it. The
 * host owns it; it is valid for the call that received it. Later reads see earlier writes. Writes
 * reach the delivered disk only if the call returns HYPER_OK and the host keeps them. */
#ifndef HYPER_DRAFT_BLOCK_H
#define HYPER_DRAFT_BLOCK_H

#include "../types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_BLOCK_WRITE 1u
#define HYPER_BLOCK_EXTENTS 2u
#define HYPER_BLOCK_ATTACH 4u

/* NBD_UNIX emits {"uri", "socket", "export"}. NBD_TCP emits {"uri", "host", "port"} on loopback,
 * for programs that cannot use Unix sockets; one client at a time. HYPER_UNSUPPORTED where the plan
 * does not allow it. QCOW2 emits {"path"}, a file over the base; the plugin uses no other slot
 * until detach. */
#define HYPER_ATTACH_NBD_UNIX 1
#define HYPER_ATTACH_NBD_TCP 2
#define HYPER_ATTACH_QCOW2 3

typedef struct hyper_block {
  uint32_t size;
  uint32_t flags; /* HYPER_BLOCK_... */
  void* ctx;
  const char* id; /* "disk-0" */
  uint64_t length;
  uint32_t block_min; /* offsets and lengths are multiples of it */
  uint32_t block_pref;
  uint32_t max_parallel;
  uint32_t reserved;
  hyper_st (*read_at)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, void* buf,
                      uint64_t len) HYPER_NOEXCEPT;
  hyper_st (*write_at)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, const void* buf,
                       uint64_t len) HYPER_NOEXCEPT;
  hyper_st (*zero_at)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset,
                      uint64_t len) HYPER_NOEXCEPT;
  hyper_st (*flush)(void* ctx, hyper_op* op, uint32_t flags) HYPER_NOEXCEPT;
  hyper_st (*extents)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, uint64_t len,
                      hyper_emit_extent emit, void* arg) HYPER_NOEXCEPT;
  hyper_st (*attach)(void* ctx, hyper_op* op, uint32_t flags, int32_t how, hyper_emit emit,
                     void* arg) HYPER_NOEXCEPT;
  hyper_st (*detach)(void* ctx, hyper_op* op,
                     uint32_t flags) HYPER_NOEXCEPT; /* the end of the call detaches too */
  const void* (*get_ext)(void* ctx, const char* id, void** self)HYPER_NOEXCEPT;
} hyper_block;

HYPER_EXTERN_C_END

#endif
