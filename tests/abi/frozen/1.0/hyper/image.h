/* SPDX-License-Identifier: Apache-2.0
 * Interface "hyper.image/1": reads disk images: a source of file bytes in, a source of
 * guest-visible bytes (with extents) out. */
#ifndef HYPER_IMAGE_H
#define HYPER_IMAGE_H

#include "source.h"
#include "types.h"

HYPER_EXTERN_C_BEGIN

#define HYPER_IFACE_IMAGE "hyper.image/1"

typedef struct hyper_image {
  uint32_t size;
  uint32_t flags; /* 0 */

  /* Emits what the content is: {"format": "vmdk", "subformat"?: "streamOptimized",
   * "virtual_size"?: N, …}. Judged by content, never by a name. HYPER_UNSUPPORTED (not reported)
   * if it is no image this plugin reads. Only for seekable sources. */
  hyper_st (*probe)(const hyper_cfg* cfg, hyper_op* op, const hyper_source* source, hyper_emit emit,
                    void* arg) HYPER_NOEXCEPT;

  /* `out` borrows `source`, which stays open and is used by nobody else until out->close().
   * request_json: {"format": …?}. out has SEEK and EXTENTS. */
  hyper_st (*open)(const hyper_cfg* cfg, hyper_op* op, const hyper_source* source,
                   const char* request_json, hyper_source* out) HYPER_NOEXCEPT;
} hyper_image;

HYPER_EXTERN_C_END

#endif
