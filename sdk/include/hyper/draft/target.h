/* SPDX-License-Identifier: Apache-2.0
 * DRAFT, not part of ABI 1.0: it may change or go until its id loses "/draft-1".
 * Interface "hyper.target/draft-1": a platform that takes disks and runs machines, or the files
 * from which one makes a machine. Documents: target.info, target.request, target.plan, target.disk,
 * target.import, target.result and target.state of the SDK's schemas. The "machine" of a request is
 * the one of guest.request and boot.request. */
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

  /* Emits target.info. Changes nothing. Fails if the plugin cannot define machines there. */
  hyper_st (*info)(void* connection, hyper_op* op, uint32_t flags, hyper_emit emit,
                   void* arg) HYPER_NOEXCEPT;
  /* The request, here and of define: target.request; "ref" of a disk is absent here. Changes
   * nothing. Emits target.plan. HYPER_UNSUPPORTED (reported): it cannot define this machine. */
  hyper_st (*plan)(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* request,
                   hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* Optional (NULL), for info's "disks": "put". The request: target.disk. As hyper_storage.put: the
   * disk has its place after commit, and commit's "location" is its ref. A journal entry is open
   * from before the disk is made until commit or close. HYPER_EXISTS, HYPER_NOSPACE. */
  hyper_st (*put_disk)(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* request,
                       hyper_sink* out) HYPER_NOEXCEPT;
  /* Optional (NULL), for "import": the platform fetches the disk by itself. The request:
   * target.disk with "url" or "path". Emits target.import. */
  hyper_st (*import_disk)(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* request,
                          hyper_emit emit, void* arg) HYPER_NOEXCEPT;
  /* Optional (NULL), for info's "can": "readback": the bytes that were put. HYPER_NOTFOUND. */
  hyper_st (*get_disk)(void* connection, hyper_op* op, uint32_t flags, const char* ref,
                       hyper_source* out) HYPER_NOEXCEPT;

  /* Defines the machine, which stays stopped. Emits target.result. A machine of that name that was
   * defined with the same "mark" is the same one, from a run that was killed: define makes it what
   * the request says. Any other: HYPER_EXISTS, and nothing is changed. A journal entry is open from
   * before the machine is made until it is whole. */
  hyper_st (*define)(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* request,
                     hyper_emit emit, void* arg) HYPER_NOEXCEPT;
  /* Optional (NULL), for "can": "start". The request: {"ref"}. */
  hyper_st (*start)(void* connection, hyper_op* op, uint32_t flags,
                    const hyper_doc* request) HYPER_NOEXCEPT;
  /* Optional (NULL), as the next one: for "can": "state". Emits target.state. HYPER_NOTFOUND. */
  hyper_st (*state)(void* connection, hyper_op* op, uint32_t flags, const char* ref,
                    hyper_emit emit, void* arg) HYPER_NOEXCEPT;
  /* {"ref", "how": "guest|off"}. */
  hyper_st (*stop)(void* connection, hyper_op* op, uint32_t flags,
                   const hyper_doc* request) HYPER_NOEXCEPT;
  /* Optional (NULL). {"ref", "kind": "machine|disk"}: a machine that define made, without its
   * disks, or a disk that put_disk or import_disk made. What is gone already is HYPER_OK. */
  hyper_st (*remove)(void* connection, hyper_op* op, uint32_t flags,
                     const hyper_doc* request) HYPER_NOEXCEPT;

  /* Optional (NULL): as hyper_storage.undo. An entry has the "mark" of its request. */
  hyper_st (*undo)(void* connection, hyper_op* op, uint32_t flags,
                   const hyper_doc* entry) HYPER_NOEXCEPT;
  const void* (*get_ext)(void* connection, const char* id, void** self)HYPER_NOEXCEPT;
} hyper_target;

HYPER_EXTERN_C_END

#endif
