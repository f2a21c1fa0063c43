/* SPDX-License-Identifier: Apache-2.0
 * What the host does for a plugin. Passed to start(); valid until stop() returns; every function
 * may be called from any thread. */
#ifndef HYPER_HOST_H
#define HYPER_HOST_H

#include "types.h"

HYPER_EXTERN_C_BEGIN

typedef struct hyper_host {
  uint32_t size;
  uint32_t abi_minor; /* the host's */

  /* A host extension by id ("hyper.spawn/1"), or NULL if this host has none of that name. The
   * table lives as long as the host's. */
  const void* (*get_ext)(const char* id)HYPER_NOEXCEPT;

  /* Records a diagnostic for the operation and returns its code, so that
   * `return host->report(op, &diag);` is the usual end of a failed call. Warnings and notes may
   * be reported at any time. op may be NULL. */
  hyper_st (*report)(hyper_op* op, const hyper_diag* diag) HYPER_NOEXCEPT;

  /* fields: an object with further fields, or NULL. Known secrets are blanked by the host. */
  void (*log)(hyper_op* op, int32_t level, const char* message,
              const hyper_doc* fields) HYPER_NOEXCEPT;

  /* Work done so far and in all, in the operation's unit (bytes unless its function says
   * otherwise). Cheap: call it as often as is convenient. Never goes back. total 0 = unknown. */
  void (*progress)(hyper_op* op, uint64_t done, uint64_t total, const char* phase) HYPER_NOEXCEPT;

  /* Not 0 once the operation is to stop. Then return HYPER_CANCELLED within 2 s, cleaned up. */
  int32_t (*cancelled)(hyper_op* op) HYPER_NOEXCEPT;

  /* A descriptor that becomes readable (and stays so) on cancel: for poll(). The host's; do not
   * read or close it. Valid while op is. */
  int32_t (*cancel_fd)(hyper_op* op) HYPER_NOEXCEPT;

  /* Waits; HYPER_CANCELLED at once when cancelled. */
  hyper_st (*sleep)(hyper_op* op, uint64_t ns) HYPER_NOEXCEPT;

  /* --- documents (types.h). Pointers are JSON Pointers (RFC 6901); "" = the whole. Failures are
   * not reported: they have no operation. --- */

  /* The value at a pointer. out->size set by the caller. HYPER_NOTFOUND where there is none. */
  hyper_st (*doc_get)(const hyper_doc* doc, const char* pointer, hyper_val* out) HYPER_NOEXCEPT;
  /* The key of member number `index` of the object at a pointer, as a string. HYPER_NOTFOUND beyond
   * the last. The order is the same for every call. */
  hyper_st (*doc_key)(const hyper_doc* doc, const char* pointer, uint64_t index,
                      hyper_val* out) HYPER_NOEXCEPT;
  /* Emits the value at a pointer as JSON text: how a call answers with a document that it built.
   * Options contain resolved secrets. Returns what emit returned. */
  hyper_st (*doc_emit)(const hyper_doc* doc, const char* pointer, hyper_emit emit,
                       void* arg) HYPER_NOEXCEPT;

  /* A new document from JSON text. HYPER_CORRUPT: it is no JSON, longer than 16 MiB, or nested
   * deeper than 128. */
  hyper_st (*doc_parse)(const char* json, uint64_t len, hyper_doc** out) HYPER_NOEXCEPT;
  /* A new document, {}; NULL when there is no memory. */
  hyper_doc* (*doc_new)(void)HYPER_NOEXCEPT;
  /* Writes a value to a document that the plugin made. A last part "-" appends to an array. What is
   * missing on the way is made: an array where the next part is "-", else an object.
   * HYPER_VAL_ARRAY and HYPER_VAL_OBJECT write an empty one. HYPER_FAIL: the pointer is none, leads
   * through a value that has no members, or the text is no UTF-8. */
  hyper_st (*doc_set)(hyper_doc* doc, const char* pointer, const hyper_val* value) HYPER_NOEXCEPT;
  /* The same with a copy of what another document (or the same) has at `from_pointer`. */
  hyper_st (*doc_copy)(hyper_doc* doc, const char* pointer, const hyper_doc* from,
                       const char* from_pointer) HYPER_NOEXCEPT;
  /* Ends a document that the plugin made. NULL: nothing. */
  void (*doc_free)(hyper_doc* doc) HYPER_NOEXCEPT;

  /* Page-aligned memory from the host's budget; NULL when there is none. Freed by buf_free. */
  void* (*buf_alloc)(uint64_t len)HYPER_NOEXCEPT;
  void (*buf_free)(void* buffer) HYPER_NOEXCEPT;
} hyper_host;

/* --- extension "hyper.spawn/1": child processes -------------------------------------------------
 * Plugins do not fork. A child started here dies with the operation's cancel (SIGTERM, then
 * SIGKILL after a second) and with the host. Descriptors other than 0–2 are closed in it; its
 * standard input is empty. */
#define HYPER_EXT_SPAWN "hyper.spawn/1"

#define HYPER_STREAM_STDOUT 1
#define HYPER_STREAM_STDERR 2

/* A line (ended by \n or \r, neither included) of the child's output, at most 64 KiB; called on
 * the thread that called run(). */
typedef void (*hyper_on_line)(void* arg, int32_t stream, const char* line,
                              uint64_t len) HYPER_NOEXCEPT;

typedef struct hyper_spawn {
  uint32_t size;
  uint32_t reserved;
  /* Runs argv (NULL-terminated; argv[0] is searched in PATH; no shell) to its end, with the
   * host's environment and LC_ALL=C. HYPER_OK once it ran, whatever it returned: exit_status is
   * its exit status, or -N when signal N ended it. HYPER_NOTFOUND (reported) if there is no such
   * program. on_line may be NULL. */
  hyper_st (*run)(hyper_op* op, uint32_t flags, const char* const* argv, hyper_on_line on_line,
                  void* arg, int32_t* exit_status) HYPER_NOEXCEPT;
  /* Starts argv and leaves it running; stop() ends it (SIGTERM, SIGKILL) and waits. Its output
   * goes to the host's log at debug level. */
  hyper_st (*start)(hyper_op* op, uint32_t flags, const char* const* argv,
                    uint64_t* process) HYPER_NOEXCEPT;
  /* 1 while it runs. */
  int32_t (*alive)(uint64_t process) HYPER_NOEXCEPT;
  void (*stop)(uint64_t process) HYPER_NOEXCEPT;
} hyper_spawn;

/* --- extension "hyper.journal/1": changes outside the host --------------------------------------
 * A plugin that changes something outside (a snapshot, a lease, a power state, an unfinished
 * upload) writes an entry before the change and closes it once the change is undone or is meant
 * to stay. What a killed run leaves open is handed to the plugin's undo() by `hyperhost cleanup`.
 * An operation whose host keeps no journal (`hyperhost list`) gets HYPER_UNSUPPORTED from every
 * call, without a report.
 * An entry is an object of at most 64 KiB without secrets: {"plugin": "<own id>", "kind":
 * "snapshot", "where": "<endpoint, bucket …>", "ref": "<name there>", "task_id": …} and whatever
 * else the plugin needs to find it again. */
#define HYPER_EXT_JOURNAL "hyper.journal/1"

typedef struct hyper_journal {
  uint32_t size;
  uint32_t reserved;
  /* Durable when it returns. */
  hyper_st (*open)(hyper_op* op, uint32_t flags, const hyper_doc* entry,
                   uint64_t* id) HYPER_NOEXCEPT;
  /* Replaces the entry, e.g. once the server has given a name. Durable when it returns. */
  hyper_st (*update)(hyper_op* op, uint32_t flags, uint64_t id,
                     const hyper_doc* entry) HYPER_NOEXCEPT;
  hyper_st (*close)(hyper_op* op, uint32_t flags, uint64_t id) HYPER_NOEXCEPT;
  /* Emits every open entry of `plugin`, oldest first: {"entry": N, "abandoned": true if the
   * process that wrote it is gone, …as written}. An abandoned one may be taken over by update(). */
  hyper_st (*list)(hyper_op* op, uint32_t flags, const char* plugin, hyper_emit emit,
                   void* arg) HYPER_NOEXCEPT;
} hyper_journal;

/* --- extension "hyper.throttle/1": how fast ------------------------------------------------------
 * A plugin that sends to a network asks before it sends, in pieces of at most 1 MiB. The user may
 * limit the bandwidth of the whole run and of each VM, and change the limits while it runs. */
#define HYPER_EXT_THROTTLE "hyper.throttle/1"

typedef struct hyper_throttle {
  uint32_t size;
  uint32_t reserved;
  /* Waits until the operation may send this many bytes more; HYPER_CANCELLED at once when
   * cancelled. Returns at once where there is no limit. */
  hyper_st (*take)(hyper_op* op, uint32_t flags, uint64_t bytes) HYPER_NOEXCEPT;
} hyper_throttle;

/* --- extension "hyper.checkpoint/1": resuming in the middle of a disk ----------------------------
 * For a converter whose request has "checkpoint": from time to time, once what it has written is
 * durable (hyper_sink.sync), it saves what it needs to resume there. The next convert() of the
 * disk, in this process or a later one, gets the last state that was saved. */
#define HYPER_EXT_CHECKPOINT "hyper.checkpoint/1"

typedef struct hyper_checkpoint {
  uint32_t size;
  uint32_t reserved;
  /* state: an object of at most 16 MiB without secrets; its member "length" is the number of
   * bytes at the beginning of the sink that the state relies on. Replaces the one before; durable
   * when it returns. HYPER_UNSUPPORTED (not reported) where the operation keeps none. */
  hyper_st (*save)(hyper_op* op, uint32_t flags, const hyper_doc* state) HYPER_NOEXCEPT;
} hyper_checkpoint;

HYPER_EXTERN_C_END

#endif
