/* SPDX-License-Identifier: Apache-2.0
 * DRAFT, not part of ABI 1.0: it may change or go until its id loses "/draft-1".
 * Ability of a source (hyper_source.get_ext): lists the extents that changed since an earlier point
 * in time, for migrations that copy a running VM in passes. */
#ifndef HYPER_DRAFT_CHANGES_H
#define HYPER_DRAFT_CHANGES_H

#include "../types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_EXT_CHANGES "hyper.source.changes/draft-1"

#define HYPER_EXTENT_CHANGED 4u /* in addition to the flags of types.h */

typedef struct hyper_changes {
  uint32_t size;
  uint32_t reserved;
  /* Emits the point in time that this source shows, as an object without secrets that a later
   * source of the same disk understands: {"epoch": ..., "counter": ...} or other members that the
   * plugin needs. The host stores the object and does not interpret it. */
  hyper_st (*token)(void* self, hyper_op* op, uint32_t flags, hyper_emit emit,
                    void* arg) HYPER_NOEXCEPT;
  /* Emits the extents of [offset, offset+len): ascending, without gaps, covering it exactly. An
   * extent has CHANGED if a byte in it may differ from the token's source. HYPER_NOTFOUND
   * (reported): the token belongs to another epoch or disk, and the whole disk counts as changed.
   */
  hyper_st (*since)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* token,
                    uint64_t offset, uint64_t len, hyper_emit_extent emit,
                    void* arg) HYPER_NOEXCEPT;
} hyper_changes;

HYPER_EXTERN_C_END

#endif
