/* SPDX-License-Identifier: Apache-2.0
 * Interface "hyper.provider/1": where VMs come from. See sdk/README.md for the JSON documents. */
#ifndef HYPER_PROVIDER_H
#define HYPER_PROVIDER_H

#include "source.h"
#include "types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_IFACE_PROVIDER "hyper.provider/1"

/* Flags of open_disk: how the caller would read it. The source may offer less. */
#define HYPER_OPEN_SEEK 1u
#define HYPER_OPEN_STREAM 2u

typedef struct hyper_provider {
  uint32_t size;
  uint32_t flags; /* 0 */

  hyper_st (*connect)(hyper_op* op, uint32_t flags, const hyper_doc* options,
                      void** connection) HYPER_NOEXCEPT;
  /* Ends the connection, whatever happens. */
  void (*disconnect)(void* connection, hyper_op* op) HYPER_NOEXCEPT;

  /* Emits one VM summary each: {"ref", "name", "path"?, "power_state"?, "disks"?, "bytes"? ...}.
   * pattern: a glob over name or path; NULL = all. Bounded memory: one at a time. */
  hyper_st (*list_vms)(void* connection, hyper_op* op, uint32_t flags, const char* pattern,
                       hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* Emits one VM description. vm: name, path or ref. HYPER_NOTFOUND; HYPER_CONFIG with the
   * candidates in detail where the name is ambiguous. */
  hyper_st (*describe_vm)(void* connection, hyper_op* op, uint32_t flags, const char* vm,
                          hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* Changes nothing; reports findings (warnings, errors) as diagnostics and returns the worst.
   * The request is that of open_vm, without content_ids. NULL = describe_vm is all there is to
   * check. */
  hyper_st (*preflight)(void* connection, hyper_op* op, uint32_t flags,
                        const hyper_doc* request) HYPER_NOEXCEPT;

  /* Makes a VM ready to be read (snapshot, lease, power as asked) and holds it so until
   * close_vm. The request: {"vm": ..., "task_id": ..., "options"?: {...},
   * "content_ids"?: {"disk-0": "..."} as the description had them}. */
  hyper_st (*open_vm)(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* request,
                      void** vm) HYPER_NOEXCEPT;
  /* flags: HYPER_OPEN_... disk_id as in the description. Several disks of one VM may be open at
   * once. */
  hyper_st (*open_disk)(void* vm, hyper_op* op, uint32_t flags, const char* disk_id,
                        hyper_source* out) HYPER_NOEXCEPT;
  /* Undoes what open_vm did. outcome: HYPER_OK if the migration succeeded. Called once, after
   * all of its sources are closed, with an operation that nobody cancels. The VM is gone
   * afterwards, also after a failure. */
  hyper_st (*close_vm)(void* vm, hyper_op* op, hyper_st outcome) HYPER_NOEXCEPT;

  /* Optional (NULL): undoes what a journal entry of this plugin says ("hyper.journal/1"; the entry
   * as listed). HYPER_OK: nothing of it is left, whoever removed it; the host closes the entry.
   * HYPER_UNSUPPORTED: the entry belongs to another place than this connection. Never touches
   * what the entry does not name. */
  hyper_st (*undo)(void* connection, hyper_op* op, uint32_t flags,
                   const hyper_doc* entry) HYPER_NOEXCEPT;

  /* Optional (NULL), as in source.h: abilities of a connection and of a VM. */
  const void* (*get_ext)(void* connection, const char* id, void** self)HYPER_NOEXCEPT;
  const void* (*vm_get_ext)(void* vm, const char* id, void** self)HYPER_NOEXCEPT;
} hyper_provider;

HYPER_EXTERN_C_END

#endif
