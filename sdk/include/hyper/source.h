/* SPDX-License-Identifier: Apache-2.0
 * Bytes to read: a provider's disk, an image's guest-visible content, an object in a store.
 *
 * The opener fills a hyper_source that the caller allocated (its size field set); the caller
 * ends it with close(), also after errors. `ctx` belongs to the opener. Unless max_parallel says
 * more, calls on one source are made one at a time (from any thread). */
#ifndef HYPER_SOURCE_H
#define HYPER_SOURCE_H

#include "types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_SOURCE_SEEK 1u     /* read_at works; length is known */
#define HYPER_SOURCE_STREAM 2u   /* next works: forward only, once */
#define HYPER_SOURCE_EXTENTS 4u  /* extents works */
#define HYPER_SOURCE_BORROW 8u   /* borrow works: zero copy */
#define HYPER_SOURCE_FILE 16u    /* locate works: the bytes lie as they are in a local file */
#define HYPER_SOURCE_SIBLING 32u /* sibling works: further files of the same package */

typedef struct hyper_file_range {
  uint32_t size;
  uint32_t reserved;
  const char* path; /* absolute; valid until close() */
  uint64_t offset;
  uint64_t length;
} hyper_file_range;

typedef struct hyper_source {
  uint32_t size;
  uint32_t flags; /* HYPER_SOURCE_…; a slot whose flag is clear may be NULL */
  void* ctx;
  uint64_t length;       /* HYPER_LENGTH_UNKNOWN where only the end will tell */
  uint32_t block_min;    /* offsets and lengths of read_at are multiples of it; 1 = any */
  uint32_t block_pref;   /* reads of this size do best */
  uint32_t block_max;    /* no read is longer; 0 = no limit */
  uint32_t max_parallel; /* this many calls of read_at/borrow/extents at once; at least 1 */
  char format[16];       /* "vmdk", "qcow2", "raw" …; "" = to be found out from the content */

  /* Fills buf whole or fails. Reading beyond length is HYPER_FAIL. */
  hyper_st (*read_at)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, void* buf,
                      uint64_t len) HYPER_NOEXCEPT;

  /* The next bytes, in the plugin's own memory, until release(). len 0 = end of stream. The
   * spans are contiguous. At most one span is out at a time. */
  hyper_st (*next)(void* ctx, hyper_op* op, uint32_t flags, hyper_span* out) HYPER_NOEXCEPT;

  /* Lends len bytes at offset. Several spans may be out. */
  hyper_st (*borrow)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, uint64_t len,
                     hyper_span* out) HYPER_NOEXCEPT;
  void (*release)(void* ctx, hyper_span* span) HYPER_NOEXCEPT;

  /* The extents of [offset, offset+len), ascending, contiguous, covering it exactly. */
  hyper_st (*extents)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, uint64_t len,
                      hyper_emit_extent emit, void* arg) HYPER_NOEXCEPT;

  hyper_st (*locate)(void* ctx, hyper_op* op, uint32_t flags, hyper_file_range* out) HYPER_NOEXCEPT;

  /* Opens another file of the same package by the name a descriptor gives (an extent of a VMDK).
   * HYPER_NOTFOUND if it is not there, HYPER_AUTH if the name leads out of the package. */
  hyper_st (*sibling)(void* ctx, hyper_op* op, uint32_t flags, const char* name,
                      struct hyper_source* out) HYPER_NOEXCEPT;

  /* Called once, after the reader has what it needs and before the result is made final: the
   * opener completes its own integrity checks (a package's checksum, a lease's manifest) and
   * emits {"bytes":N, "checksum":"sha256:<hex>", "verified":"<what was checked>"}, all optional.
   * A failure fails the disk. NULL = nothing to check. */
  hyper_st (*finish)(void* ctx, hyper_op* op, uint32_t flags, hyper_emit emit,
                     void* arg) HYPER_NOEXCEPT;

  /* Ends the source, whatever happens. The host passes an operation with a name, a log and a time
   * limit, which is not that of the call that failed or was cancelled. Another plugin may pass
   * NULL. */
  void (*close)(void* ctx, hyper_op* op) HYPER_NOEXCEPT;

  /* Optional (NULL): an ability that is no slot of this table, by its id. Returns the ability's
   * table and puts what its functions get as their object into *self; both live as long as this
   * object. A NULL answer: there is none. Ids of drafts end in their number ("hyper.x/draft-1"). */
  const void* (*get_ext)(void* ctx, const char* id, void** self)HYPER_NOEXCEPT;
} hyper_source;

HYPER_EXTERN_C_END

#endif
