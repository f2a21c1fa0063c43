// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/tool.hpp"

#include <cstdio>

#include "plugins/find_program.hpp"

namespace hyperhost::qemu_img {
namespace {

constexpr std::size_t kOutCap = 4u << 20;
constexpr std::size_t kErrCap = 4u << 10;
constexpr const char* kInstall =
    "install the package qemu-utils (Debian, Ubuntu) or qemu-img (Fedora, RHEL, SUSE: qemu-tools)";

struct Capture {
  Outcome outcome;
  const std::function<void(std::string_view)>& on_out;
  std::exception_ptr error;

  void take(int32_t stream, std::string_view line) {
    if (stream == HYPER_STREAM_STDOUT && on_out) return on_out(line);
    std::string& to = stream == HYPER_STREAM_STDOUT ? outcome.out : outcome.err;
    const std::size_t cap = stream == HYPER_STREAM_STDOUT ? kOutCap : kErrCap;
    if (line.empty() || to.size() + line.size() + 1 > cap) return;
    to.append(line);
    to += '\n';
  }
};

void on_line(void* arg, int32_t stream, const char* line, uint64_t len) noexcept {
  auto& capture = *static_cast<Capture*>(arg);
  try {
    if (!capture.error) capture.take(stream, {line, static_cast<std::size_t>(len)});
  } catch (...) {
    capture.error = std::current_exception();
  }
}

bool says(const Outcome& outcome, std::initializer_list<const char*> phrases) {
  for (const char* phrase : phrases)
    if (outcome.err.find(phrase) != std::string::npos) return true;
  return false;
}

}  // namespace

const hyper_spawn& spawner() {
  const auto* spawn = hyper::extension<hyper_spawn>(HYPER_EXT_SPAWN);
  if (spawn == nullptr)
    throw hyper::Error(HYPER_UNSUPPORTED,
                       "this host cannot start programs for plugins (no " HYPER_EXT_SPAWN ")");
  return *spawn;
}

Tool::Tool(hyper::Op op, const std::string& program, const std::string& option)
    : path_(find_program(program)) {
  if (path_.empty())
    throw hyper::Error(HYPER_NOTFOUND, "\"" + program + "\" is not installed")
        .at(option)
        .hint(kInstall);
  const Outcome outcome = run(op, {"--version"});
  int major = 0, minor = 0;
  const std::size_t at = outcome.out.find(' ');
  const std::size_t digits = outcome.out.find_first_of("0123456789", at);
  if (!outcome.ok() || digits == std::string::npos ||
      // NOLINTNEXTLINE(cert-err34-c): of a program's own version
      std::sscanf(outcome.out.c_str() + digits, "%d.%d", &major, &minor) != 2) {
    throw hyper::Error(HYPER_CONFIG,
                       "\"" + path_ + "\" does not say its version as QEMU's programs do",
                       outcome.err)
        .at(option)
        .hint(kInstall);
  }
  version_ = std::to_string(major) + "." + std::to_string(minor);
  if (major < 5 || (major == 5 && minor < 1)) {
    throw hyper::Error(HYPER_CONFIG,
                       "\"" + path_ + "\" is version " + version_ + ", and 5.1 or newer is needed")
        .at(option)
        .hint(std::string("upgrade it: ") + kInstall);
  }
}

Outcome Tool::run(hyper::Op op, const std::vector<std::string>& arguments,
                  const std::function<void(std::string_view)>& on_out) const {
  std::vector<const char*> argv{path_.c_str()};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  argv.push_back(nullptr);
  Capture capture{{}, on_out, nullptr};
  hyper::check(
      spawner().run(op.raw(), 0, argv.data(), &on_line, &capture, &capture.outcome.status));
  if (capture.error) std::rethrow_exception(capture.error);
  op.check_cancelled();  // the host may have ended it because of that
  return std::move(capture.outcome);
}

hyper::Error error_of(const Outcome& outcome, const std::string& program,
                      const std::string& doing) {
  const auto make = [&](hyper_st status, const std::string& what) {
    // The first line: each of the requests in flight fails with words of its own.
    hyper::Error error(status, what, outcome.err.substr(0, outcome.err.find('\n')));
    error.native(outcome.status);
    return error;
  };
  if (outcome.status < 0) {
    return make(HYPER_FAIL, program + " was killed by signal " + std::to_string(-outcome.status) +
                                " while " + doing)
        .hint("signal 9 is often the kernel out of memory; see its log (dmesg), then try again")
        .retryable();
  }
  if (says(outcome, {"No space left on device", "Disk quota exceeded"}))
    return make(HYPER_NOSPACE, "no space left while " + doing)
        .hint("free some space or choose another output directory");
  if (says(outcome, {"File too large"}))
    return make(HYPER_NOSPACE,
                "the file system or a limit of the process (ulimit -f) does not "
                "allow a file of this size; " +
                    program + " stopped while " + doing);
  if (says(outcome, {"Failed to get"}) && says(outcome, {"lock"}))
    return make(HYPER_BUSY,
                "another program has the image open; " + program + " stopped while " + doing)
        .hint("power off the virtual machine that uses it")
        .retryable();
  if (says(outcome, {"Permission denied", "Operation not permitted"}))
    return make(HYPER_AUTH, "no permission while " + doing);
  if (says(outcome, {"No such file or directory"}))
    return make(HYPER_NOTFOUND, "a file is missing; " + program + " stopped while " + doing);
  if (says(outcome, {"Input/output error"}))
    return make(HYPER_IO, "input/output error while " + doing);
  if (says(outcome, {"needs to be replayed"}))
    return make(HYPER_UNSUPPORTED,
                "the image was not closed cleanly; " + program + " stopped while " + doing)
        .hint(
            "open it once with the program that wrote it, or repair a copy: qemu-img check -r all");
  if (says(outcome, {"Could not open", "error while reading", "truncated", "corrupt", "Invalid"}))
    return make(HYPER_CORRUPT,
                "the image is damaged or truncated; " + program + " stopped while " + doing)
        .hint("get the file again and compare its checksum");
  return make(HYPER_FAIL, program + " failed (exit status " + std::to_string(outcome.status) +
                              ") while " + doing);
}

}  // namespace hyperhost::qemu_img
