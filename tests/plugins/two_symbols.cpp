// SPDX-License-Identifier: Apache-2.0
#include <hyper/hyper.h>

extern "C" HYPER_EXPORT int helper_of_mine() {
  return 1;
}
