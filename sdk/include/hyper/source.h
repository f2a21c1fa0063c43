/* SPDX-License-Identifier: Apache-2.0
 * Bytes to read: a provider's disk, an image's guest-visible content, an object in a store.
 *
 * The caller allocates a hyper_source and sets its size; the opener fills it. The caller ends it
 * with close(), also after errors. `ctx` belongs to the opener. Unless max_parallel is higher, the
 * caller makes one call at a time on a source, from any thread. */
#ifndef HYPER_SOURCE_H
#define HYPER_SOURCE_H

#include "types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_SOURCE_SEEK 1u     /* read_at works; length is known */
#define HYPER_SOURCE_STREAM 2u   /* next works: forward only, once */
#define HYPER_SOURCE_EXTENTS 4u  /* extents works */
#define HYPER_SOURCE_BORROW 8u   /* borrow works: zero copy */
#define HYPER_SOURCE_FILE 16u    /* locate works: a local file holds the bytes unchanged */
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
  uint64_t length;       /* HYPER_LENGTH_UNKNOWN: only the end of the stream shows it */
  uint32_t block_min;    /* offsets and lengths of read_at are multiples of it; 1 = any */
  uint32_t block_pref;   /* reads of this size are fastest */
  uint32_t block_max;    /* the longest allowed read; 0 = no limit */
  uint32_t max_parallel; /* this many calls of read_at/borrow/extents at once; at least 1 */
  char format[16];       /* "vmdk", "qcow2", "raw" …; "" = the reader detects it by content */

  /* Fills all of buf or fails. A read beyond length is HYPER_FAIL. */
  hyper_st (*read_at)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, void* buf,
                      uint64_t len) HYPER_NOEXCEPT;

  /* Lends the next bytes of the stream, in the plugin's own memory, until release(). len 0 = end of
   * the stream. Each span begins where the one before ended. The caller holds one span at a time.
   */
  hyper_st (*next)(void* ctx, hyper_op* op, uint32_t flags, hyper_span* out) HYPER_NOEXCEPT;

  /* Lends len bytes at offset, until release(). The caller may hold several spans. */
  hyper_st (*borrow)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, uint64_t len,
                     hyper_span* out) HYPER_NOEXCEPT;
  void (*release)(void* ctx, hyper_span* span) HYPER_NOEXCEPT;

  /* Emits the extents of [offset, offset+len): ascending, without gaps, covering it exactly. */
  hyper_st (*extents)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, uint64_t len,
                      hyper_emit_extent emit, void* arg) HYPER_NOEXCEPT;

  hyper_st (*locate)(void* ctx, hyper_op* op, uint32_t flags, hyper_file_range* out) HYPER_NOEXCEPT;

  /* Opens another file of the same package by the name that a descriptor has (an extent of a VMDK).
   * HYPER_NOTFOUND: no such file. HYPER_AUTH: the name leads out of the package. */
  hyper_st (*sibling)(void* ctx, hyper_op* op, uint32_t flags, const char* name,
                      struct hyper_source* out) HYPER_NOEXCEPT;

  /* Optional (NULL): completes the opener's own integrity checks (a package's checksum, a lease's
   * manifest). The caller makes one call, after its last read and before the result gets its final
   * name. Emits {"bytes":N, "checksum":"sha256:<hex>", "verified":"<what was checked>"}, all
   * optional. A failure fails the disk. NULL: the opener checks nothing. */
  hyper_st (*finish)(void* ctx, hyper_op* op, uint32_t flags, hyper_emit emit,
                     void* arg) HYPER_NOEXCEPT;

  /* Ends the source, also if an error occurs meanwhile. The host passes a new operation with a
   * name, a log and a time limit, not that of the call that failed or was cancelled. Another plugin
   * may pass NULL. */
  void (*close)(void* ctx, hyper_op* op) HYPER_NOEXCEPT;

  /* Optional (NULL): returns the table of an ability by its id, or NULL if this object does not
   * have the ability. *self receives the object for the table's functions. Both live as long as
   * this object. Ids of drafts end in the draft's number ("hyper.x/draft-1"). */
  const void* (*get_ext)(void* ctx, const char* id, void** self)HYPER_NOEXCEPT;
} hyper_source;

HYPER_EXTERN_C_END

#endif
