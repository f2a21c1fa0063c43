/* SPDX-License-Identifier: Apache-2.0
 * DRAFT, not part of ABI 1.0: it may change or go until its id loses "/draft-1".
 * Ability of a VM (hyper_provider.vm_get_ext): delivers several disks in one forward stream, for
 * providers that deliver a whole VM in one piece (an archive, one export of all disks). */
#ifndef HYPER_DRAFT_DISKS_H
#define HYPER_DRAFT_DISKS_H

#include "../types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_EXT_VM_DISKS "hyper.vm.disks/draft-1"

/* The next bytes of one disk. Spans of one disk ascend; disks may alternate. */
typedef struct hyper_disk_span {
  uint32_t size;
  uint32_t extent_flags; /* HYPER_EXTENT_...; ZERO: bytes.data is NULL */
  uint32_t disk;         /* index into the request's "disks" */
  uint32_t ended;        /* 1: this disk has no more bytes */
  hyper_span bytes;      /* bytes.offset is within the disk; len 0 and !ended: all disks ended */
} hyper_disk_span;

typedef struct hyper_vm_disks {
  uint32_t size;
  uint32_t reserved;
  /* The request: {"disks": ["disk-0", ...]}. The plugin skips other disks of the VM. */
  hyper_st (*open)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                   void** stream) HYPER_NOEXCEPT;
  /* Lends the next bytes, in the plugin's own memory, until release(). The caller holds one span at
   * a time. */
  hyper_st (*next)(void* stream, hyper_op* op, uint32_t flags, hyper_disk_span* out) HYPER_NOEXCEPT;
  void (*release)(void* stream, hyper_span* span) HYPER_NOEXCEPT;
  /* As hyper_source.finish, with one object for each disk: {"disks": [{"bytes", "checksum"}]}. */
  hyper_st (*finish)(void* stream, hyper_op* op, uint32_t flags, hyper_emit emit,
                     void* arg) HYPER_NOEXCEPT;
  void (*close)(void* stream, hyper_op* op) HYPER_NOEXCEPT;
} hyper_vm_disks;

HYPER_EXTERN_C_END

#endif
