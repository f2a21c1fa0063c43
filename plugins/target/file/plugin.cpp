// SPDX-License-Identifier: Apache-2.0
// The plugin "file": hyper.target/draft-1 by files that a platform's own tools read.
#include <hyper/plugin.hpp>

#include "plugins/target/file/file_target.hpp"

namespace {
struct FileTargetPlugin {
  using Interfaces = hyper::Interfaces<hyper::Target<hyperhost::file_target::FileTarget>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};
}  // namespace

HYPER_PLUGIN(FileTargetPlugin)
