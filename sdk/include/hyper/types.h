/* SPDX-License-Identifier: Apache-2.0
 * The basic types of the hyperhost plugin ABI 1: status codes, diagnostics, values, spans, extents.
 *
 * Rules for every header in this directory:
 * - The code is C99 and C++17. Fields are fixed-width integers and pointers only.
 * - A struct that may grow begins with its size in bytes as its author compiled it. It grows at the
 *   end only. The other side reads it up to the smaller of the two sizes.
 * - The side that fills a struct allocates it.
 * - Strings are UTF-8 and borrowed for the call. Without a length beside them they end in NUL.
 * - Offsets, lengths and sizes are in bytes, times in nanoseconds. */
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

/* Every function that does work takes its arguments in this order: the object, the operation,
 * flags, the request, the place for the answer. flags is 0 in this version; a later minor may
 * define bits. A callee that does not know a bit returns HYPER_UNSUPPORTED before it does anything.
 * Functions that end an object (close, disconnect, close_vm) have no flags.
 *
 * Status of every call: 0 is success. A negative number is a failure that the callee has reported
 * with a diagnostic (report()). A reader treats an unknown negative number as HYPER_FAIL. */
typedef int32_t hyper_st;
#define HYPER_OK 0
#define HYPER_FAIL (-1)        /* any failure that no code below names */
#define HYPER_CANCELLED (-2)   /* the operation was cancelled and the call stopped */
#define HYPER_UNSUPPORTED (-3) /* the request is valid, but this plugin cannot do it */
#define HYPER_CONFIG (-4)      /* an option is wrong; the diagnostic's path says which */
#define HYPER_AUTH (-5)        /* credentials or permissions do not allow it */
#define HYPER_NOTFOUND (-6)
#define HYPER_IO (-7)
#define HYPER_BUSY (-8) /* the call may work later; see retry_after_ns */
#define HYPER_NOSPACE (-9)
#define HYPER_CORRUPT (-10) /* the data is damaged, truncated or lies about itself */
#define HYPER_EXISTS (-11)  /* the target exists and the request does not say to overwrite it */

#define HYPER_LENGTH_UNKNOWN UINT64_MAX

#define HYPER_SEVERITY_INFO 0
#define HYPER_SEVERITY_WARNING 1
#define HYPER_SEVERITY_ERROR 2

#define HYPER_LOG_TRACE 0
#define HYPER_LOG_DEBUG 1
#define HYPER_LOG_INFO 2
#define HYPER_LOG_WARN 3
#define HYPER_LOG_ERROR 4

/* One operation (a call that does work). The host owns it. It is valid for the call that received
 * it and for every thread that this call starts and joins. Thread-safe. */
typedef struct hyper_op hyper_op;

/* A JSON document: a plugin's options (validated against its schema, defaults applied, secrets
 * resolved), a request, an answer that is being built. Plugins read and build documents with the
 * doc_ functions of hyper_host, so a plugin needs neither a JSON parser nor a printer. A document
 * that the host passes to a call belongs to the host. It is immutable, valid for the call and
 * thread-safe. A document that a plugin makes (doc_new, doc_parse) belongs to the plugin until
 * doc_free. While a thread writes to it, no other thread may use it.
 *
 * Any document may carry "must_understand": ["/pointer", ...]: the members without which a reader
 * misreads the rest. A reader that does not know one of them returns HYPER_UNSUPPORTED, with the
 * pointer as the diagnostic's path. */
typedef struct hyper_doc hyper_doc;

#define HYPER_DIAG_RETRYABLE 1u /* the same call may succeed later */

/* A diagnostic. The reporter allocates it; the host copies it. */
typedef struct hyper_diag {
  uint32_t size;
  int32_t severity; /* HYPER_SEVERITY_… */
  hyper_st code;
  uint32_t flags;      /* HYPER_DIAG_… */
  const char* summary; /* one sentence: what is wrong; never NULL */
  const char* detail;  /* more; NULL if none */
  const char* hint;    /* what the user can do; NULL if none */
  const char* path;    /* JSON Pointer into the options ("/endpoint") or "vm/NAME/disk/ID"; NULL */
  int64_t native_code; /* errno, HTTP status, exit status …; 0 = none */
  uint64_t retry_after_ns; /* 0 = the host decides */
  const char* rule; /* stable id of a finding, e.g. "guest.fstab-by-name"; NULL if it has none */
} hyper_diag;

#define HYPER_VAL_NULL 0
#define HYPER_VAL_BOOL 1   /* i64 is 0 or 1 */
#define HYPER_VAL_INT 2    /* i64; f64 is the same number */
#define HYPER_VAL_FLOAT 3  /* f64; also an integer that i64 cannot hold */
#define HYPER_VAL_STRING 4 /* str, len; valid until the hyper_doc is changed or ends */
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

/* Borrowed bytes. The borrower returns them exactly once, with release() of the same table. */
typedef struct hyper_span {
  const void* data;
  uint64_t len;
  uint64_t offset; /* of data within the source */
  void* token;     /* for the owner's use; the borrower leaves it alone */
} hyper_span;

#define HYPER_EXTENT_ZERO 1u /* reads as zeros */
#define HYPER_EXTENT_HOLE 2u /* reads as zeros and takes no space (implies ZERO) */

typedef struct hyper_extent {
  uint64_t offset;
  uint64_t length;
  uint32_t flags;
  uint32_t reserved;
} hyper_extent;

/* How a callee returns a result whose size only the callee knows. The callee calls the function
 * with a UTF-8 JSON document (not NUL-terminated), borrowed for that call. If the function fails,
 * the callee stops and returns the same status. The callee does not call it after its own return.
 */
typedef hyper_st (*hyper_emit)(void* arg, const char* json, uint64_t len) HYPER_NOEXCEPT;

/* The callee calls it once per extent. Extents ascend and leave no gaps. */
typedef hyper_st (*hyper_emit_extent)(void* arg, const hyper_extent* extent) HYPER_NOEXCEPT;

HYPER_EXTERN_C_END

#endif
