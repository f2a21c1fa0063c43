/* SPDX-License-Identifier: Apache-2.0
 * The words of the hyperhost plugin ABI 1: status codes, diagnostics, values, spans, extents.
 *
 * Rules for every header in this directory: C99 and C++17; fixed-width integers and pointers
 * only; a struct that may grow begins with its size in bytes as its author compiled it, grows at
 * the end only, and is read up to min(size) by the other side; whoever fills a struct allocates
 * it; strings are UTF-8, end in NUL unless a length stands beside them, and are borrowed for the
 * call. Offsets, lengths and sizes are bytes; times are nanoseconds. */
#ifndef HYPER_TYPES_H
#define HYPER_TYPES_H

#include <stdint.h>

#ifdef __cplusplus
#define HYPER_NOEXCEPT noexcept /* a callback that may throw does not compile */
#define HYPER_EXTERN_C_BEGIN extern "C" {
#define HYPER_EXTERN_C_END }
#else
#define HYPER_NOEXCEPT
#define HYPER_EXTERN_C_BEGIN
#define HYPER_EXTERN_C_END
#endif

#define HYPER_ABI_MAJOR 1
#define HYPER_ABI_MINOR 0

HYPER_EXTERN_C_BEGIN

/* Every function that does work has its arguments in this order: the object, the operation, flags,
 * what is asked, where the answer goes. flags is 0 in this version; a later minor defines bits. A
 * callee answers HYPER_UNSUPPORTED to a bit that it does not know, before it does anything. What
 * ends an object (close, disconnect, close_vm) has no flags.
 *
 * Status of every call: 0 is success, negative a failure that has been report()ed with a
 * diagnostic. A reader treats a negative number it does not know as HYPER_FAIL. */
typedef int32_t hyper_st;
#define HYPER_OK 0
#define HYPER_FAIL (-1)        /* anything not below */
#define HYPER_CANCELLED (-2)   /* the operation was asked to stop and did */
#define HYPER_UNSUPPORTED (-3) /* valid, but not something this plugin does */
#define HYPER_CONFIG (-4)      /* an option is wrong; the diagnostic's path says which */
#define HYPER_AUTH (-5)        /* refused: credentials or permissions */
#define HYPER_NOTFOUND (-6)
#define HYPER_IO (-7)
#define HYPER_BUSY (-8) /* later it may work; see retry_after_ns */
#define HYPER_NOSPACE (-9)
#define HYPER_CORRUPT (-10) /* the data is damaged, truncated or lies about itself */
#define HYPER_EXISTS (-11)  /* the target is there and overwriting was not asked for */

#define HYPER_LENGTH_UNKNOWN UINT64_MAX

#define HYPER_SEVERITY_INFO 0
#define HYPER_SEVERITY_WARNING 1
#define HYPER_SEVERITY_ERROR 2

#define HYPER_LOG_TRACE 0
#define HYPER_LOG_DEBUG 1
#define HYPER_LOG_INFO 2
#define HYPER_LOG_WARN 3
#define HYPER_LOG_ERROR 4

/* One operation (a call that does work). Owned by the host, valid for the call it was passed to
 * and any thread that call starts and joins. Thread-safe. */
typedef struct hyper_op hyper_op;

/* A JSON document: a plugin's options (validated against its schema, defaults applied, secrets
 * resolved), a request, an answer that is being built. Read and built with the doc_ functions of
 * hyper_host, so that a plugin needs neither a JSON parser nor a printer. One that is passed to a
 * call is the host's, immutable, valid for the call and thread-safe. One that a plugin makes
 * (doc_new, doc_parse) is the plugin's until doc_free, and used by one thread at a time while it
 * is written to.
 *
 * Any document may carry "must_understand": ["/pointer", ...]: members without which the rest is
 * misread. A reader that does not know one of them answers HYPER_UNSUPPORTED, with the pointer as
 * the diagnostic's path. */
typedef struct hyper_doc hyper_doc;

#define HYPER_DIAG_RETRYABLE 1u /* the same call may succeed later */

/* A diagnostic. Allocated by the reporter; the host copies. */
typedef struct hyper_diag {
  uint32_t size;
  int32_t severity; /* HYPER_SEVERITY_… */
  hyper_st code;
  uint32_t flags;      /* HYPER_DIAG_… */
  const char* summary; /* one sentence: what is wrong; never NULL */
  const char* detail;  /* more; NULL if none */
  const char* hint;    /* what to do about it; NULL if none */
  const char* path;    /* JSON Pointer into the options ("/endpoint") or "vm/NAME/disk/ID"; NULL */
  int64_t native_code; /* errno, HTTP status, exit status …; 0 = none */
  uint64_t retry_after_ns; /* 0 = as the host sees fit */
  const char* rule; /* stable id of a finding, e.g. "guest.fstab-by-name"; NULL if it has none */
} hyper_diag;

#define HYPER_VAL_NULL 0
#define HYPER_VAL_BOOL 1   /* i64 is 0 or 1 */
#define HYPER_VAL_INT 2    /* i64; f64 is the same number */
#define HYPER_VAL_FLOAT 3  /* f64; also an integer that i64 cannot hold */
#define HYPER_VAL_STRING 4 /* str, len; valid as long as the hyper_doc is and is not changed */
#define HYPER_VAL_ARRAY 5  /* len = number of elements, at "/pointer/0" … */
#define HYPER_VAL_OBJECT 6 /* len = number of members */

typedef struct hyper_val {
  uint32_t size;
  int32_t type;
  int64_t i64;
  double f64;
  const char* str;
  uint64_t len;
} hyper_val;

/* Borrowed bytes. Given back with the release() of the table it came from, exactly once. */
typedef struct hyper_span {
  const void* data;
  uint64_t len;
  uint64_t offset; /* of data within the source */
  void* token;     /* the owner's; not for the borrower */
} hyper_span;

#define HYPER_EXTENT_ZERO 1u /* reads as zeros */
#define HYPER_EXTENT_HOLE 2u /* … and nothing is allocated for it (implies ZERO) */

typedef struct hyper_extent {
  uint64_t offset;
  uint64_t length;
  uint32_t flags;
  uint32_t reserved;
} hyper_extent;

/* How a callee hands out a result of a size only it knows: called with a UTF-8 JSON document
 * (not NUL-terminated) that is borrowed for the call. A failure stops the emitter, which
 * returns that status. Not called after the function it was given to has returned. */
typedef hyper_st (*hyper_emit)(void* arg, const char* json, uint64_t len) HYPER_NOEXCEPT;

/* Called once per extent, ascending and contiguous. */
typedef hyper_st (*hyper_emit_extent)(void* arg, const hyper_extent* extent) HYPER_NOEXCEPT;

HYPER_EXTERN_C_END

#endif
