/* SPDX-License-Identifier: Apache-2.0
 * Interface "hyper.converter/1": turns a disk in one format into a disk in another.
 *
 * The request, the same for plan() and convert():
 *   {"source": {"format": "vmdk", "length": N|null, "access": ["seek","stream","file",...]},
 *    "target": {"format": "qcow2", "compression": "none|zlib|zstd|keep", "compression_level"?: N,
 *               "cluster_size"?: N, "deterministic"?: true, "durability": "none|file"},
 *    "virtual_size"?: N      (the size that the source's owner reports; HYPER_CORRUPT if it
 * differs) "digest": true|false}   (compute the content digest in the pass, if the converter can)
 * If the host can resume after an interruption ("hyper.checkpoint/1"), convert() also gets:
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

  /* Opens an instance. It owns what its conversions share (threads, memory); all disks of a run
   * with equal options use the same instance. The options live until close(). */
  hyper_st (*open)(hyper_op* op, uint32_t flags, const hyper_doc* options,
                   void** self) HYPER_NOEXCEPT;
  /* Ends the instance, also if an error occurs meanwhile. */
  void (*close)(void* self, hyper_op* op) HYPER_NOEXCEPT;

  /* Says how the converter would do the request. No I/O. Emits {"source": "stream|seek|file" (the
   * least access it needs), "sink": ["parts","random","path", ...] (the sinks it can write, best
   * first), "digest": true|false, "scratch_bytes"?: N, "passes": 1, "notes"?: [...]}.
   * HYPER_UNSUPPORTED (reported, with the reason): it cannot do the request. */
  hyper_st (*plan)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                   hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* Reads the source and writes the sink. It does not finish, commit or close them. Emits
   * {"virtual_size": N, "bytes_written": N (the length to commit), "bytes_read"?: N,
   *  "digest"?: "hyper-tree-sha256:<hex>", "resumed_bytes"?: N (guest bytes that it skipped because
   * of a "state"), "notes"?: [...]}. Calls for different disks may run at once. With a "state", the
   * source has the same content as when the state was saved, and the sink has the bytes that were
   * durable then. A converter that does not understand the state returns HYPER_UNSUPPORTED before
   * it writes anything; the host then starts the disk again from its beginning. */
  hyper_st (*convert)(void* self, hyper_op* op, uint32_t flags, const hyper_doc* request,
                      const hyper_source* source, const hyper_sink* sink, hyper_emit emit,
                      void* arg) HYPER_NOEXCEPT;

  /* Optional (NULL), as in source.h. */
  const void* (*get_ext)(void* self, const char* id, void** ext_self)HYPER_NOEXCEPT;
} hyper_converter;

HYPER_EXTERN_C_END

#endif
