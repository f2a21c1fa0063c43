/* SPDX-License-Identifier: Apache-2.0
 * Interface "hyper.converter/1": turns a disk in one format into a disk in another.
 *
 * The request, the same for plan() and convert():
 *   {"source": {"format": "vmdk", "length": N|null, "access": ["seek","stream","file",...]},
 *    "target": {"format": "qcow2", "compression": "none|zlib|zstd|keep", "compression_level"?: N,
 *               "cluster_size"?: N, "deterministic"?: true, "durability": "none|file"},
 *    "virtual_size"?: N      (what the source's owner says; a different size is HYPER_CORRUPT)
 *    "digest": true|false}   (compute the content digest in the pass, if it can)
 * and for convert() where the host can resume after an interruption ("hyper.checkpoint/1"):
 *   "checkpoint"?: {"interval_bytes": N, "interval_ms": N, "state"?: {..., as last saved}}
 *
 * Progress is in guest-visible bytes of the whole disk. */
#ifndef HYPER_CONVERTER_H
#define HYPER_CONVERTER_H

#include "sink.h"
#include "source.h"
#include "types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_IFACE_CONVERTER "hyper.converter/1"

typedef struct hyper_converter {
  uint32_t size;
  uint32_t flags; /* 0 */

  /* One instance per run of the host: what its conversions share (threads, memory) lives in it.
   * The options live until close(). */
  hyper_st (*open)(hyper_op* op, uint32_t flags, const hyper_doc* options,
                   void** self) HYPER_NOEXCEPT;
  /* Ends the instance, whatever happens. */
  void (*close)(void* self, hyper_op* op) HYPER_NOEXCEPT;

  /* No I/O. Emits {"source": "stream|seek|file" (the least it needs of the source),
   * "sink": ["parts","random","path", ...] (what it can write, best first), "digest": true|false,
   * "scratch_bytes"?: N, "passes": 1, "notes"?: [...]}. HYPER_UNSUPPORTED with the reason
   * reported if it cannot do this. */
  hyper_st (*plan)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                   hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* Reads the source, writes the sink; neither finishes, commits nor closes them. Emits
   * {"virtual_size": N, "bytes_written": N (the length to commit), "bytes_read"?: N,
   *  "digest"?: "hyper-tree-sha256:<hex>", "resumed_bytes"?: N (guest bytes that a "state" spared
   * it), "notes"?: [...]}. Calls for different disks may run at once. With a "state" the source
   * has the same content as then and the sink what was durable when it was saved; a state that it
   * does not understand is HYPER_UNSUPPORTED, before anything is written: the host starts the
   * disk again from its beginning. */
  hyper_st (*convert)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                      const hyper_source* source, const hyper_sink* sink, hyper_emit emit,
                      void* arg) HYPER_NOEXCEPT;

  /* Optional (NULL), as in source.h. */
  const void* (*get_ext)(void* self, const char* id, void** ext_self)HYPER_NOEXCEPT;
} hyper_converter;

HYPER_EXTERN_C_END

#endif
