// SPDX-License-Identifier: Apache-2.0
// The files of core/watch/web as they are in the binary. Constant; any thread.
#pragma once

#include <string>
#include <string_view>

namespace hyperhost {

struct WebAsset {
  std::string_view path;  ///< "/", "/dashboard.js" …
  const char* content_type;
  std::string_view text;
};

/// Null when there is none at `path`.
const WebAsset* find_web_asset(std::string_view path);

}  // namespace hyperhost
