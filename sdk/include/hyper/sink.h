/* SPDX-License-Identifier: Apache-2.0
 * Where bytes go: a file or an object. Opened by a storage plugin into a hyper_sink that the
 * caller allocated; nothing is visible under its final name before commit(). */
#ifndef HYPER_SINK_H
#define HYPER_SINK_H

#include "source.h"
#include "types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_SINK_RANDOM 1u /* write_at and zero_at anywhere, repeatedly */
#define HYPER_SINK_PARTS                                                                           \
  2u                         /* write_at of whole parts: part k is [k*part_size, (k+1)*part_size), \
                                the last may be shorter; each once, in any order */
#define HYPER_SINK_APPEND 4u /* write_at in ascending order without gaps */
#define HYPER_SINK_PATH 8u   /* path works: the temporary file may be written by another program */
#define HYPER_SINK_READBACK 16u /* reopen works before commit */
#define HYPER_SINK_RESUME 32u   /* keep works */

typedef struct hyper_sink {
  uint32_t size;
  uint32_t flags; /* HYPER_SINK_… */
  void* ctx;
  uint64_t part_size;    /* PARTS only, else 0 */
  uint32_t block_min;    /* offsets and lengths are multiples of it, but for the end; 1 = any */
  uint32_t max_parallel; /* this many write_at at once; at least 1 */

  hyper_st (*write_at)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, const void* buf,
                       uint64_t len) HYPER_NOEXCEPT;
  /* RANDOM only: [offset, offset+len) reads as zeros afterwards. What was never written reads as
   * zeros anyway. */
  hyper_st (*zero_at)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset,
                      uint64_t len) HYPER_NOEXCEPT;
  /* The temporary file's absolute path, valid until close(). */
  const char* (*path)(void* ctx)HYPER_NOEXCEPT;
  /* All that was written so far is durable when it returns. NULL: commit() is the only way. */
  hyper_st (*sync)(void* ctx, hyper_op* op, uint32_t flags) HYPER_NOEXCEPT;
  /* Reads back what commit(length) would make, before it; to be closed before it. Writing has
   * ended. */
  hyper_st (*reopen)(void* ctx, hyper_op* op, uint32_t flags, uint64_t length,
                     hyper_source* out) HYPER_NOEXCEPT;
  /* Ends the object at `length` bytes, makes it durable and then visible under its name. Emits
   * {"location": "<path or URL>", "bytes": N, "checksum": …}. Once. After a failure: close(). */
  hyper_st (*commit)(void* ctx, hyper_op* op, uint32_t flags, uint64_t length, hyper_emit emit,
                     void* arg) HYPER_NOEXCEPT;
  /* RESUME only. on not 0: from now on close() without a commit leaves what was written, for as
   * long as the storage can, and a JSON object without secrets is emitted: the token by which
   * put() with "resume" opens it again, in this process or, after any end of it, in a later one.
   * on 0: close() removes it again. */
  hyper_st (*keep)(void* ctx, hyper_op* op, uint32_t flags, int32_t on, hyper_emit emit,
                   void* arg) HYPER_NOEXCEPT;

  /* Without a successful commit before it: aborts and leaves nothing behind. Ends the sink,
   * whatever happens; op as for hyper_source.close. */
  void (*close)(void* ctx, hyper_op* op) HYPER_NOEXCEPT;

  /* Optional (NULL), as in source.h. */
  const void* (*get_ext)(void* ctx, const char* id, void** self)HYPER_NOEXCEPT;
} hyper_sink;

HYPER_EXTERN_C_END

#endif
