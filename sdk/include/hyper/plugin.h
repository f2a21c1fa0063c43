/* SPDX-License-Identifier: Apache-2.0
 * The plugin's descriptor and the one symbol it exports. */
#ifndef HYPER_PLUGIN_H
#define HYPER_PLUGIN_H

#include "host.h"
#include "types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_ENTRY_SYMBOL "hyper_plugin_entry_v1"
/* The ELF section that holds the manifest (JSON), readable without loading the plugin. */
#define HYPER_MANIFEST_SECTION ".hyper_manifest"

#define HYPER_THREADS_SERIAL 0   /* one call into the plugin at a time */
#define HYPER_THREADS_OBJECT 1   /* one call per connection, VM, source … at a time */
#define HYPER_THREADS_PARALLEL 2 /* any number; sources and sinks say their own max_parallel */

typedef struct hyper_plugin {
  uint32_t size;
  uint16_t abi_minor;        /* minor version of the headers that the plugin was built from */
  uint16_t need_minor;       /* the lowest host minor it works with */
  int32_t threads;           /* HYPER_THREADS_… */
  uint32_t flags;            /* 0 */
  const char* id;            /* "^[a-z][a-z0-9-]{0,63}$" */
  const char* version;       /* semantic version */
  const char* manifest_json; /* the same bytes as the ELF section */

  /* The host calls it first, after it chose this plugin. A second call comes only after stop(). */
  hyper_st (*start)(const hyper_host* host, hyper_op* op) HYPER_NOEXCEPT;
  /* The host calls it last, once for each start(), when it uses nothing of the plugin any more. The
   * plugin joins every thread it made. The library stays loaded. */
  void (*stop)(void) HYPER_NOEXCEPT;
  /* Optional (NULL): checks options for what a schema cannot express. It works offline, reports any
   * number of findings and returns the worst status. */
  hyper_st (*validate)(hyper_op* op, uint32_t flags, const char* iface_id,
                       const hyper_doc* options) HYPER_NOEXCEPT;
  /* Returns the interface's table, or NULL if this plugin does not have it. The answer never
   * changes. */
  const void* (*get)(const char* iface_id)HYPER_NOEXCEPT;
} hyper_plugin;

/* What the host says of itself. The entry reads it up to its size. */
typedef struct hyper_hello {
  uint32_t size;
  uint16_t host_minor;   /* the ABI minor of the host */
  uint16_t oldest_minor; /* the oldest plugin minor that the host still runs */
  char* refusal;         /* a plugin that returns NULL writes its reason here, NUL-terminated */
  uint64_t refusal_cap;  /* the room at refusal, in bytes */
} hyper_hello;

typedef const hyper_plugin* (*hyper_plugin_entry)(const hyper_hello* hello)HYPER_NOEXCEPT;

#if defined(__GNUC__)
#define HYPER_EXPORT __attribute__((visibility("default")))
#else
#define HYPER_EXPORT
#endif

/* The only exported symbol. It does no I/O, starts no thread and allocates nothing. Any thread may
 * call it any number of times. NULL = the plugin refuses this host; the reason is in
 * hello->refusal. ABI 2 would have another symbol, and a plugin may export both. */
HYPER_EXPORT const hyper_plugin* hyper_plugin_entry_v1(const hyper_hello* hello) HYPER_NOEXCEPT;

HYPER_EXTERN_C_END

#endif
