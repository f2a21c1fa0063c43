/* SPDX-License-Identifier: Apache-2.0
 * Interface "hyper.image/1": reads disk images: a source of file bytes in, a source of
 * guest-visible bytes (with extents) out. */
#ifndef HYPER_IMAGE_H
#define HYPER_IMAGE_H

#include "source.h"
#include "types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_IFACE_IMAGE "hyper.image/1"

/* Stateless: what an opened image can do besides is an ability of its source (get_ext). */
typedef struct hyper_image {
  uint32_t size;
  uint32_t flags; /* 0 */

  /* Emits what the content is: {"format": "vmdk", "subformat"?: "streamOptimized",
   * "virtual_size"?: N, ...}. Judged by content, never by a name. HYPER_UNSUPPORTED (not reported)
   * if it is no image this plugin reads. Only for seekable sources. */
  hyper_st (*probe)(hyper_op* op, uint32_t flags, const hyper_doc* options,
                    const hyper_source* source, hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* `out` borrows `source` and `options`, which live until out->close(); nothing else uses the
   * source meanwhile. The request: {"format"?: ...}. out has SEEK and EXTENTS. */
  hyper_st (*open)(hyper_op* op, uint32_t flags, const hyper_doc* options,
                   const hyper_source* source, const hyper_doc* request,
                   hyper_source* out) HYPER_NOEXCEPT;
} hyper_image;

HYPER_EXTERN_C_END

#endif
