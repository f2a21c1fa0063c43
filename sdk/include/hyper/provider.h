/* SPDX-License-Identifier: Apache-2.0
 * Interface "hyper.provider/1": where VMs come from. See sdk/README.md for the JSON documents. */
#ifndef HYPER_PROVIDER_H
#define HYPER_PROVIDER_H

#include "source.h"
#include "types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_IFACE_PROVIDER "hyper.provider/1"

/* Flags of open_disk: how the caller wants to read. The source may offer less. */
#define HYPER_OPEN_SEEK 1u
#define HYPER_OPEN_STREAM 2u

typedef struct hyper_provider {
  uint32_t size;
  uint32_t flags; /* 0 */

  hyper_st (*connect)(hyper_op* op, uint32_t flags, const hyper_doc* options,
                      void** connection) HYPER_NOEXCEPT;
  /* Ends the connection, also if an error occurs meanwhile. */
  void (*disconnect)(void* connection, hyper_op* op) HYPER_NOEXCEPT;

  /* Emits one summary per VM: {"ref", "name", "path"?, "power_state"?, "disks"?, "bytes"? ...}.
   * pattern: a glob over name or path; NULL = all. The plugin emits VMs one at a time, so that its
   * memory is bounded. */
  hyper_st (*list_vms)(void* connection, hyper_op* op, uint32_t flags, const char* pattern,
                       hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* Emits one VM description. vm: name, path or ref. HYPER_NOTFOUND: no such VM. HYPER_CONFIG: the
   * name is ambiguous; the diagnostic's detail lists the candidates. */
  hyper_st (*describe_vm)(void* connection, hyper_op* op, uint32_t flags, const char* vm,
                          hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* Optional (NULL): checks whether open_vm would work. Changes nothing. Reports findings
   * (warnings, errors) as diagnostics and returns the worst status. The request is that of open_vm,
   * without content_ids. NULL: describe_vm checks everything. */
  hyper_st (*preflight)(void* connection, hyper_op* op, uint32_t flags,
                        const hyper_doc* request) HYPER_NOEXCEPT;

  /* Makes a VM ready to be read (snapshot, lease, power as requested) and keeps it ready until
   * close_vm. The request: {"vm": ..., "task_id": ..., "options"?: {...},
   * "content_ids"?: {"disk-0": "..."} as in the description}. */
  hyper_st (*open_vm)(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* request,
                      void** vm) HYPER_NOEXCEPT;
  /* Opens one disk. flags: HYPER_OPEN_... disk_id: as in the description. Several disks of one VM
   * may be open at once. */
  hyper_st (*open_disk)(void* vm, hyper_op* op, uint32_t flags, const char* disk_id,
                        hyper_source* out) HYPER_NOEXCEPT;
  /* Undoes what open_vm did. outcome: HYPER_OK if the migration succeeded. The host calls it once,
   * after it closed all sources of the VM, with an operation that is never cancelled. The object
   * ends, also after a failure. */
  hyper_st (*close_vm)(void* vm, hyper_op* op, hyper_st outcome) HYPER_NOEXCEPT;

  /* Optional (NULL): undoes the change that a journal entry of this plugin names
   * ("hyper.journal/1"; the entry as list() emits it). HYPER_OK: nothing of the change is left,
   * also if someone else removed it; the host then closes the entry. HYPER_UNSUPPORTED: the entry
   * belongs to another place than this connection. Never touches anything that the entry does not
   * name. */
  hyper_st (*undo)(void* connection, hyper_op* op, uint32_t flags,
                   const hyper_doc* entry) HYPER_NOEXCEPT;

  /* Optional (NULL), as in source.h: abilities of a connection and of a VM. */
  const void* (*get_ext)(void* connection, const char* id, void** self)HYPER_NOEXCEPT;
  const void* (*vm_get_ext)(void* vm, const char* id, void** self)HYPER_NOEXCEPT;
} hyper_provider;

HYPER_EXTERN_C_END

#endif
