/* SPDX-License-Identifier: Apache-2.0
 * DRAFT, not part of ABI 1.0: it may change or go until its id loses "/draft-1".
 * Interface "hyper.target/draft-1": a platform that takes disks and runs machines. */
#ifndef HYPER_DRAFT_TARGET_H
#define HYPER_DRAFT_TARGET_H

#include "../sink.h"
#include "../source.h"
#include "../types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_IFACE_TARGET "hyper.target/draft-1"

typedef struct hyper_target {
  uint32_t size;
  uint32_t flags; /* 0 */

  hyper_st (*connect)(hyper_op* op, uint32_t flags, const hyper_doc* options,
                      void** connection) HYPER_NOEXCEPT;
  void (*disconnect)(void* connection, hyper_op* op) HYPER_NOEXCEPT;

  /* Emits {"location", "formats": ["qcow2"], "sink": ["append"], "pull": ["https","s3"],
   * "firmware":
   * ["bios","uefi","uefi-secure"], "machines", "cpu", "buses", "networks", "storages": [{"name",
   * "free_bytes"}], "max_disks", "can": ["start","readback","agent","tpm","nvram"]}. */
  hyper_st (*info)(void* connection, hyper_op* op, uint32_t flags, hyper_emit emit,
                   void* arg) HYPER_NOEXCEPT;
  /* Changes nothing. Reports findings. Emits {"machine": {... as it would be}, "definition":
   * "<xml...>", "disks": [{"id","format","storage"}]}. */
  hyper_st (*plan)(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* request,
                   hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* A plugin has at least one of these two. put_disk: as hyper_storage.put; commit() also emits
   * "ref". import_disk: the platform fetches the disk by itself. Its request: {"url"|"path",
   * "format", "bytes", "checksum"}. It emits {"ref"}. */
  hyper_st (*put_disk)(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* request,
                       hyper_sink* out) HYPER_NOEXCEPT;
  hyper_st (*import_disk)(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* request,
                          hyper_emit emit, void* arg) HYPER_NOEXCEPT;
  /* Optional (NULL): reads a disk back. */
  hyper_st (*get_disk)(void* connection, hyper_op* op, uint32_t flags, const char* ref,
                       hyper_source* out) HYPER_NOEXCEPT;

  /* {"vm", "machine", "disks": [{"id","ref"}], "networks": {...}, "task_id", "overwrite": false}.
   * Emits {"ref","name","definition"}. The machine is stopped. HYPER_EXISTS. */
  hyper_st (*define)(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* request,
                     hyper_emit emit, void* arg) HYPER_NOEXCEPT;
  /* Optional (NULL). The request: {"ref", "network": "none|as-defined"}. */
  hyper_st (*start)(void* connection, hyper_op* op, uint32_t flags,
                    const hyper_doc* request) HYPER_NOEXCEPT;
  /* Emits {"power", "agent", "addresses", "screen"?}. */
  hyper_st (*state)(void* connection, hyper_op* op, uint32_t flags, const char* ref,
                    hyper_emit emit, void* arg) HYPER_NOEXCEPT;
  /* {"ref", "how": "guest|off"}. */
  hyper_st (*stop)(void* connection, hyper_op* op, uint32_t flags,
                   const hyper_doc* request) HYPER_NOEXCEPT;
  /* {"ref", "disks": true|false}. */
  hyper_st (*remove)(void* connection, hyper_op* op, uint32_t flags,
                     const hyper_doc* request) HYPER_NOEXCEPT;

  /* Optional (NULL): as hyper_storage.undo. */
  hyper_st (*undo)(void* connection, hyper_op* op, uint32_t flags,
                   const hyper_doc* entry) HYPER_NOEXCEPT;
  const void* (*get_ext)(void* connection, const char* id, void** self)HYPER_NOEXCEPT;
} hyper_target;

HYPER_EXTERN_C_END

#endif
