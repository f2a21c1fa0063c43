/* SPDX-License-Identifier: Apache-2.0
 * Where bytes go: a file or an object. The caller allocates a hyper_sink; a storage plugin opens
 * it. Nothing is visible under the final name before commit(). */
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
#define HYPER_SINK_PATH 8u   /* path works: another program may write the temporary file */
#define HYPER_SINK_READBACK 16u /* reopen works before commit */
#define HYPER_SINK_RESUME 32u   /* keep works */

typedef struct hyper_sink {
  uint32_t size;
  uint32_t flags; /* HYPER_SINK_… */
  void* ctx;
  uint64_t part_size;    /* PARTS only, else 0 */
  uint32_t block_min;    /* offsets and lengths are multiples of it, except at the end; 1 = any */
  uint32_t max_parallel; /* this many write_at at once; at least 1 */

  hyper_st (*write_at)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, const void* buf,
                       uint64_t len) HYPER_NOEXCEPT;
  /* RANDOM only: [offset, offset+len) reads as zeros afterwards. Ranges that were never written
   * read as zeros in any case. */
  hyper_st (*zero_at)(void* ctx, hyper_op* op, uint32_t flags, uint64_t offset,
                      uint64_t len) HYPER_NOEXCEPT;
  /* The temporary file's absolute path, valid until close(). */
  const char* (*path)(void* ctx)HYPER_NOEXCEPT;
  /* Optional (NULL): makes everything written so far durable before it returns. NULL: only commit()
   * makes data durable. */
  hyper_st (*sync)(void* ctx, hyper_op* op, uint32_t flags) HYPER_NOEXCEPT;
  /* READBACK only: opens the bytes that commit(length) would make, for reading before the commit.
   * The caller writes nothing after this call and closes the source before commit(). */
  hyper_st (*reopen)(void* ctx, hyper_op* op, uint32_t flags, uint64_t length,
                     hyper_source* out) HYPER_NOEXCEPT;
  /* Ends the object at `length` bytes, makes it durable and then visible under its name. Emits
   * {"location": "<path or URL>", "bytes": N, "checksum": …}. The caller makes one call; after a
   * failure only close() may follow. */
  hyper_st (*commit)(void* ctx, hyper_op* op, uint32_t flags, uint64_t length, hyper_emit emit,
                     void* arg) HYPER_NOEXCEPT;
  /* RESUME only. on not 0: from now on a close() without a commit leaves the written data in place,
   * for as long as the storage can keep it. The call emits a JSON object without secrets, the
   * token: put() with the token as "resume" opens the data again, in this process or, however this
   * process ends, in a later one. on 0: close() removes the data again. */
  hyper_st (*keep)(void* ctx, hyper_op* op, uint32_t flags, int32_t on, hyper_emit emit,
                   void* arg) HYPER_NOEXCEPT;

  /* Ends the sink, also if an error occurs meanwhile. Without a successful commit (or keep) before
   * it, it aborts and leaves nothing behind. op: as for hyper_source.close. */
  void (*close)(void* ctx, hyper_op* op) HYPER_NOEXCEPT;

  /* Optional (NULL), as in source.h. */
  const void* (*get_ext)(void* ctx, const char* id, void** self)HYPER_NOEXCEPT;
} hyper_sink;

HYPER_EXTERN_C_END

#endif
