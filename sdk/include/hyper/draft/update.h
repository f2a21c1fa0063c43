/* SPDX-License-Identifier: Apache-2.0
 * DRAFT, not part of ABI 1.0: it may change or go until its id loses "/draft-1".
 * Abilities of a storage's connection and of its sinks: writing into an existing object, and
 * reading a sink while it is written. */
#ifndef HYPER_DRAFT_UPDATE_H
#define HYPER_DRAFT_UPDATE_H

#include "../sink.h"
#include "../types.h"

HYPER_EXTERN_C_BEGIN

/* Of a connection (hyper_storage.get_ext). */
#define HYPER_EXT_UPDATE "hyper.storage.update/draft-1"

typedef struct hyper_update {
  uint32_t size;
  uint32_t reserved;
  /* Opens an object to change it in place. The request: {"key": ..., "durability": "none|file"}.
   * The sink has RANDOM and READBACK. Writes are visible under the object's name at once. A close()
   * without commit() leaves the object as it is at that moment. HYPER_NOTFOUND: no such object. */
  hyper_st (*open)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                   hyper_sink* out) HYPER_NOEXCEPT;
} hyper_update;

/* Of a sink (hyper_sink.get_ext). */
#define HYPER_EXT_SINK_READ "hyper.sink.read/draft-1"

typedef struct hyper_sink_read {
  uint32_t size;
  uint32_t reserved;
  /* Reads the data written so far. Ranges that were never written read as zeros. A call may run
   * beside write_at of other ranges, within the same max_parallel. */
  hyper_st (*read_at)(void* self, hyper_op* op, uint32_t flags, uint64_t offset, void* buf,
                      uint64_t len) HYPER_NOEXCEPT;
  hyper_st (*extents)(void* self, hyper_op* op, uint32_t flags, uint64_t offset, uint64_t len,
                      hyper_emit_extent emit, void* arg) HYPER_NOEXCEPT;
} hyper_sink_read;

HYPER_EXTERN_C_END

#endif
