// SPDX-License-Identifier: Apache-2.0
// One of QEMU's programs, run through the host (hyper.spawn/1) without a shell, and what its exit
// and its words mean. Immutable; any thread.
#ifndef HYPERHOST_QEMU_IMG_TOOL_HPP
#define HYPERHOST_QEMU_IMG_TOOL_HPP

#include <functional>
#include <hyper/op.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace hyperhost::qemu_img {

/// The end of a run.
struct Outcome {
  int status = 0;   ///< exit status, or -N when signal N ended it
  std::string out;  ///< standard output, at most 4 MiB of it
  std::string err;  ///< standard error, at most 4 KiB of it
  bool ok() const { return status == 0; }
};

class Tool {
 public:
  /// Finds `program` (path or name in PATH) and checks that it is version 5.1 or newer: that one
  /// brought zstd and has every option used here. `option` is its JSON Pointer, for the message.
  Tool(hyper::Op op, const std::string& program, const std::string& option);

  const std::string& path() const { return path_; }
  const std::string& version() const { return version_; }

  /// Runs it to its end. Lines of standard output go to on_out where given, else into Outcome.
  /// Throws Reported(HYPER_CANCELLED) when cancelled.
  Outcome run(hyper::Op op, const std::vector<std::string>& arguments,
              const std::function<void(std::string_view)>& on_out = {}) const;

 private:
  std::string path_, version_;
};

/// What a failed run means. `doing`: e.g. `converting "/srv/a.vmdk"`.
hyper::Error error_of(const Outcome& outcome, const std::string& program, const std::string& doing);

/// The host's hyper.spawn/1; throws where it has none.
const hyper_spawn& spawner();

}  // namespace hyperhost::qemu_img

#endif
