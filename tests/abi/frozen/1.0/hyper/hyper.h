/* SPDX-License-Identifier: Apache-2.0
 * The hyperhost plugin ABI, whole. Plugins in C++ include <hyper/plugin.hpp> instead. */
#ifndef HYPER_HYPER_H
#define HYPER_HYPER_H

#include "converter.h"
#include "host.h"
#include "image.h"
#include "plugin.h"
#include "provider.h"
#include "sink.h"
#include "source.h"
#include "storage.h"
#include "types.h"

#endif
