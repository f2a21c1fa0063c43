/* SPDX-License-Identifier: Apache-2.0
 * The services of the host for a plugin. start() receives the table; it is valid until stop()
 * returns. Any thread may call every function. */
#ifndef HYPER_HOST_H
#define HYPER_HOST_H

#include "types.h"

HYPER_EXTERN_C_BEGIN

typedef struct hyper_host {
  uint32_t size;
  uint32_t abi_minor; /* the minor version of the host */

  /* Returns the table of a host extension by its id ("hyper.spawn/1"), or NULL if this host does
   * not have the extension. The table lives as long as this one. */
  const void* (*get_ext)(const char* id)HYPER_NOEXCEPT;

  /* Records a diagnostic for the operation and returns the diagnostic's code. A failed call usually
   * ends with `return host->report(op, &diag);`. A plugin may report warnings and notes at any
   * time. op may be NULL. */
  hyper_st (*report)(hyper_op* op, const hyper_diag* diag) HYPER_NOEXCEPT;

  /* Writes a line to the host's log. fields: an object with further fields, or NULL. The host
   * blanks the secrets it knows. */
  void (*log)(hyper_op* op, int32_t level, const char* message,
              const hyper_doc* fields) HYPER_NOEXCEPT;

  /* Reports the work done so far and the total, in the operation's unit (bytes unless the
   * function's comment names another). done never decreases. total 0 = unknown. The call is cheap:
   * a plugin may make it as often as is convenient. */
  void (*progress)(hyper_op* op, uint64_t done, uint64_t total, const char* phase) HYPER_NOEXCEPT;

  /* Not 0 after a cancel. The plugin then cleans up and returns HYPER_CANCELLED within 2 s. */
  int32_t (*cancelled)(hyper_op* op) HYPER_NOEXCEPT;

  /* A descriptor for poll(): it becomes readable on a cancel and stays readable. It belongs to the
   * host: do not read or close it. Valid as long as op. */
  int32_t (*cancel_fd)(hyper_op* op) HYPER_NOEXCEPT;

  /* Waits. Returns HYPER_CANCELLED as soon as the operation is cancelled. */
  hyper_st (*sleep)(hyper_op* op, uint64_t ns) HYPER_NOEXCEPT;

  /* --- documents (types.h). Pointers are JSON Pointers (RFC 6901); "" = the whole document. These
   * functions have no operation, so they report no failure. --- */

  /* Reads the value at a pointer. The caller sets out->size. HYPER_NOTFOUND: no value is there. */
  hyper_st (*doc_get)(const hyper_doc* doc, const char* pointer, hyper_val* out) HYPER_NOEXCEPT;
  /* Reads the key of member number `index` of the object at a pointer, as a string. HYPER_NOTFOUND:
   * the object has no member of that number. Every call sees the same order. */
  hyper_st (*doc_key)(const hyper_doc* doc, const char* pointer, uint64_t index,
                      hyper_val* out) HYPER_NOEXCEPT;
  /* Emits the value at a pointer as JSON text. A call answers this way with a document that it
   * built. Options contain resolved secrets: do not log their text. Returns what emit returned. */
  hyper_st (*doc_emit)(const hyper_doc* doc, const char* pointer, hyper_emit emit,
                       void* arg) HYPER_NOEXCEPT;

  /* Makes a document from JSON text. HYPER_CORRUPT: the text is not JSON, is longer than 16 MiB, or
   * is nested deeper than 128. */
  hyper_st (*doc_parse)(const char* json, uint64_t len, hyper_doc** out) HYPER_NOEXCEPT;
  /* Makes an empty document, {}. NULL: no memory is left. */
  hyper_doc* (*doc_new)(void)HYPER_NOEXCEPT;
  /* Writes a value to a document that the plugin made. A last part "-" appends to an array. The
   * call makes missing parts of the pointer: an array where the next part is "-", else an object.
   * HYPER_VAL_ARRAY and HYPER_VAL_OBJECT write an empty array or object. HYPER_FAIL: the pointer is
   * invalid, it leads through a value that has no members, or the text is not UTF-8. */
  hyper_st (*doc_set)(hyper_doc* doc, const char* pointer, const hyper_val* value) HYPER_NOEXCEPT;
  /* As doc_set, with a copy of the value that `from` (another document or the same) has at
   * `from_pointer`. */
  hyper_st (*doc_copy)(hyper_doc* doc, const char* pointer, const hyper_doc* from,
                       const char* from_pointer) HYPER_NOEXCEPT;
  /* Frees a document that the plugin made. Does nothing with NULL. */
  void (*doc_free)(hyper_doc* doc) HYPER_NOEXCEPT;

  /* Page-aligned memory from the host's budget; NULL if none is left. buf_free frees it. */
  void* (*buf_alloc)(uint64_t len)HYPER_NOEXCEPT;
  void (*buf_free)(void* buffer) HYPER_NOEXCEPT;
} hyper_host;

/* --- extension "hyper.spawn/1": child processes -------------------------------------------------
 * Plugins do not fork; they start children here. On a cancel of the operation the host ends the
 * child with SIGTERM, and with SIGKILL a second later. A child also ends with the host. In the
 * child, descriptors other than 0–2 are closed and standard input is empty. */
#define HYPER_EXT_SPAWN "hyper.spawn/1"

#define HYPER_STREAM_STDOUT 1
#define HYPER_STREAM_STDERR 2

/* Receives one line of the child's output: at most 64 KiB, without the \n or \r that ends it. The
 * host calls it on the thread that called run(). */
typedef void (*hyper_on_line)(void* arg, int32_t stream, const char* line,
                              uint64_t len) HYPER_NOEXCEPT;

typedef struct hyper_spawn {
  uint32_t size;
  uint32_t reserved;
  /* Runs argv to its end, with the host's environment and LC_ALL=C. argv ends in NULL; argv[0] is
   * searched for in PATH; no shell is used. HYPER_OK: the program ran, whatever it returned.
   * exit_status is its exit status, or -N if signal N ended it. HYPER_NOTFOUND (reported): no such
   * program exists. on_line may be NULL. */
  hyper_st (*run)(hyper_op* op, uint32_t flags, const char* const* argv, hyper_on_line on_line,
                  void* arg, int32_t* exit_status) HYPER_NOEXCEPT;
  /* Starts argv and returns while it runs. stop() ends it (SIGTERM, then SIGKILL) and waits for its
   * end. Its output goes to the host's log at debug level. */
  hyper_st (*start)(hyper_op* op, uint32_t flags, const char* const* argv,
                    uint64_t* process) HYPER_NOEXCEPT;
  /* 1 while it runs. */
  int32_t (*alive)(uint64_t process) HYPER_NOEXCEPT;
  void (*stop)(uint64_t process) HYPER_NOEXCEPT;
} hyper_spawn;

/* --- extension "hyper.journal/1": changes outside the host --------------------------------------
 * A plugin that changes something outside (a snapshot, a lease, a power state, an unfinished
 * upload) writes an entry before the change. It closes the entry when the change is undone or is
 * meant to stay. `hyperhost cleanup` passes the entries that a killed run left open to the plugin's
 * undo().
 * For an operation without a journal (`hyperhost list`), every call returns HYPER_UNSUPPORTED and
 * reports nothing; update() and close() still work for an entry that this process opened in another
 * operation.
 * An entry is an object of at most 64 KiB without secrets: {"plugin": "<own id>", "kind":
 * "snapshot", "where": "<endpoint, bucket …>", "ref": "<name there>", "task_id": …} and further
 * members that the plugin needs to find the change again. */
#define HYPER_EXT_JOURNAL "hyper.journal/1"

typedef struct hyper_journal {
  uint32_t size;
  uint32_t reserved;
  /* Writes an entry and returns its number. The entry is durable when the call returns. */
  hyper_st (*open)(hyper_op* op, uint32_t flags, const hyper_doc* entry,
                   uint64_t* id) HYPER_NOEXCEPT;
  /* Replaces the entry, e.g. after the server has returned a name. Durable when it returns. */
  hyper_st (*update)(hyper_op* op, uint32_t flags, uint64_t id,
                     const hyper_doc* entry) HYPER_NOEXCEPT;
  hyper_st (*close)(hyper_op* op, uint32_t flags, uint64_t id) HYPER_NOEXCEPT;
  /* Emits every open entry of `plugin`, oldest first: the entry's members as written, "entry": its
   * number, and "abandoned": true if the process that wrote it has ended. update() takes over an
   * abandoned entry. */
  hyper_st (*list)(hyper_op* op, uint32_t flags, const char* plugin, hyper_emit emit,
                   void* arg) HYPER_NOEXCEPT;
} hyper_journal;

/* --- extension "hyper.throttle/1": how fast ------------------------------------------------------
 * A plugin that sends to a network calls take() before it sends, in pieces of at most 1 MiB. The
 * user may limit the bandwidth of the whole run and of each VM, and change both during the run. */
#define HYPER_EXT_THROTTLE "hyper.throttle/1"

typedef struct hyper_throttle {
  uint32_t size;
  uint32_t reserved;
  /* Waits until the operation may send this many more bytes. Returns HYPER_CANCELLED as soon as the
   * operation is cancelled. Without a limit it returns at once. */
  hyper_st (*take)(hyper_op* op, uint32_t flags, uint64_t bytes) HYPER_NOEXCEPT;
} hyper_throttle;

/* --- extension "hyper.checkpoint/1": resuming in the middle of a disk ----------------------------
 * For a converter whose request has "checkpoint". From time to time the converter makes what it has
 * written durable (hyper_sink.sync) and then saves the state that it needs to resume there. The
 * next convert() of the disk, in this process or a later one, gets the last saved state. */
#define HYPER_EXT_CHECKPOINT "hyper.checkpoint/1"

typedef struct hyper_checkpoint {
  uint32_t size;
  uint32_t reserved;
  /* state: an object of at most 16 MiB without secrets. Its member "length" is the number of bytes
   * at the beginning of the sink that the state relies on. The state replaces the one before and is
   * durable when the call returns. HYPER_UNSUPPORTED (not reported): this operation keeps no state.
   */
  hyper_st (*save)(hyper_op* op, uint32_t flags, const hyper_doc* state) HYPER_NOEXCEPT;
} hyper_checkpoint;

HYPER_EXTERN_C_END

#endif
