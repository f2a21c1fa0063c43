/* SPDX-License-Identifier: Apache-2.0
 * Interface "hyper.image/1": reads disk images. A plugin gets a source of a file's bytes and
 * returns a source of the guest-visible bytes, with extents. */
#ifndef HYPER_IMAGE_H
#define HYPER_IMAGE_H

#include "source.h"
#include "types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_IFACE_IMAGE "hyper.image/1"

/* Stateless. Further abilities of an opened image are abilities of its source (get_ext). */
typedef struct hyper_image {
  uint32_t size;
  uint32_t flags; /* 0 */

  /* Detects the format from the content, never from a name. Emits {"format": "vmdk", "subformat"?:
   * "streamOptimized", "virtual_size"?: N, ...}. HYPER_UNSUPPORTED (not reported): this plugin does
   * not read such an image. Only for seekable sources. */
  hyper_st (*probe)(hyper_op* op, uint32_t flags, const hyper_doc* options,
                    const hyper_source* source, hyper_emit emit, void* arg) HYPER_NOEXCEPT;

  /* Opens an image. `out` borrows `source` and `options`; both live until out->close(), and nothing
   * else uses the source meanwhile. The request: {"format"?: ...}. out has SEEK and EXTENTS. */
  hyper_st (*open)(hyper_op* op, uint32_t flags, const hyper_doc* options,
                   const hyper_source* source, const hyper_doc* request,
                   hyper_source* out) HYPER_NOEXCEPT;
} hyper_image;

HYPER_EXTERN_C_END

#endif
