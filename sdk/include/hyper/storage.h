/* SPDX-License-Identifier: Apache-2.0
 * Interface "hyper.storage/1": where results go: a directory, a bucket, a container. Keys are
 * UTF-8 paths with '/' between their parts, never absolute, never with "." or ".." parts. */
#ifndef HYPER_STORAGE_H
#define HYPER_STORAGE_H

#include "sink.h"
#include "source.h"
#include "types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_IFACE_STORAGE "hyper.storage/1"

typedef struct hyper_storage {
  uint32_t size;
  uint32_t flags; /* 0 */

  hyper_st (*connect)(hyper_op* op, uint32_t flags, const hyper_doc* options,
                      void** connection) HYPER_NOEXCEPT;
  /* Ends the connection, also if an error occurs meanwhile. */
  void (*disconnect)(void* connection, hyper_op* op) HYPER_NOEXCEPT;

  /* Emits {"location": …, "sink": ["random","path","readback", …], "free_bytes"?: N,
   * "max_object_bytes"?: N}. Changes nothing. Fails if the plugin cannot write to the place. */
  hyper_st (*info)(void* connection, hyper_op* op, uint32_t flags, hyper_emit emit,
                   void* arg) HYPER_NOEXCEPT;

  /* The request: {"key": …, "length"?: N (final), "expected_bytes"?: N (a guess, for space
   * checks and part sizes), "overwrite": false, "durability": "none|file",
   * "content_type"?: …, "metadata"?: {…}, "resume"?: {…}, "resume_length"?: N,
   * "adopt"?: true, "presign_seconds"?: N}. HYPER_EXISTS, HYPER_NOSPACE.
   * resume: opens the unfinished object of that token (hyper_sink.keep) with its data instead of a
   * new object, and drops what lies beyond resume_length bytes. HYPER_NOTFOUND (reported): that
   * object no longer exists. Only a storage whose sinks have RESUME gets this member.
   * adopt: an existing object with the same content counts as the result; commit() then emits
   * "adopted": true. The storage may return HYPER_EXISTS from put() instead.
   * presign_seconds: commit() emits "url". Anyone who has the URL can read the object for that
   * time. */
  hyper_st (*put)(void* connection, hyper_op* op, uint32_t flags, const hyper_doc* request,
                  hyper_sink* out) HYPER_NOEXCEPT;
  hyper_st (*get)(void* connection, hyper_op* op, uint32_t flags, const char* key,
                  hyper_source* out) HYPER_NOEXCEPT;
  /* Emits {"key", "bytes", "location", "checksum"?, "modified"?}. HYPER_NOTFOUND (not reported). */
  hyper_st (*stat)(void* connection, hyper_op* op, uint32_t flags, const char* key, hyper_emit emit,
                   void* arg) HYPER_NOEXCEPT;
  /* Emits one object as stat() does for each key that begins with prefix. */
  hyper_st (*list)(void* connection, hyper_op* op, uint32_t flags, const char* prefix,
                   hyper_emit emit, void* arg) HYPER_NOEXCEPT;
  hyper_st (*remove)(void* connection, hyper_op* op, uint32_t flags,
                     const char* key) HYPER_NOEXCEPT;

  /* Optional (NULL): undoes the change that a journal entry of this plugin names
   * ("hyper.journal/1"; the entry as list() emits it). HYPER_OK: nothing of the change is left,
   * also if someone else removed it; the host then closes the entry. HYPER_UNSUPPORTED: the entry
   * belongs to another place than this connection. Never touches anything that the entry does not
   * name. */
  hyper_st (*undo)(void* connection, hyper_op* op, uint32_t flags,
                   const hyper_doc* entry) HYPER_NOEXCEPT;

  /* Optional (NULL), as in source.h. */
  const void* (*get_ext)(void* connection, const char* id, void** self)HYPER_NOEXCEPT;
} hyper_storage;

HYPER_EXTERN_C_END

#endif
