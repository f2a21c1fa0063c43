// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/virt-v2v/conversion.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <exception>
#include <functional>

#include "plugins/find_program.hpp"
#include "plugins/guest/scratch/kernels.hpp"

namespace hyperhost::virt_v2v {
namespace {

using Line = std::function<void(int32_t stream, std::string_view line)>;

constexpr const char* kInstall =
    "install the packages virt-v2v, nbdkit and qemu-utils, and a kernel with its modules "
    "(linux-image-cloud-amd64): apt-get install virt-v2v nbdkit qemu-utils linux-image-cloud-amd64 "
    "(Debian, Ubuntu), dnf install virt-v2v (Fedora, RHEL)";
constexpr int kTimedOut = 124;    // of timeout
constexpr uint64_t kPhases = 12;  // at least as many as virt-v2v has

struct Listener {
  const Line& on_line;
  std::exception_ptr error;
};

void hear(void* arg, int32_t stream, const char* line, uint64_t len) noexcept {
  auto& listener = *static_cast<Listener*>(arg);
  try {
    if (!listener.error) listener.on_line(stream, {line, static_cast<std::size_t>(len)});
  } catch (...) {
    listener.error = std::current_exception();
  }
}

/// Runs a program of the host to its end; its exit status, or -N for signal N.
int32_t run_program(hyper::Op op, const std::vector<std::string>& arguments, const Line& on_line) {
  const auto* spawn = hyper::extension<hyper_spawn>(HYPER_EXT_SPAWN);
  if (spawn == nullptr)
    throw hyper::Error(HYPER_UNSUPPORTED,
                       "this host cannot start programs for plugins (no " HYPER_EXT_SPAWN ")");
  std::vector<const char*> argv;
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  argv.push_back(nullptr);
  Listener listener{on_line, nullptr};
  int32_t status = 0;
  hyper::check(spawn->run(op.raw(), 0, argv.data(), &hear, &listener, &status));
  if (listener.error) std::rethrow_exception(listener.error);
  op.check_cancelled();  // the host may have ended it because of that
  return status;
}

}  // namespace

Tools::Tools(hyper::Op op, const Settings& settings) {
  const bool named = !settings.program.empty();
  program.path = find_program(named ? settings.program : "virt-v2v-in-place", {"/usr/libexec"});
  if (program.path.empty())
    throw hyper::Error(HYPER_NOTFOUND, named ? "\"" + settings.program + "\" is not a program"
                                             : "\"virt-v2v-in-place\" is not installed")
        .at("/program")
        .hint(kInstall);
  for (const char* needed : {"nbdkit", "qemu-nbd", "qemu-img", "timeout", "setpriv", "env"})
    if (find_program(needed).empty())
      throw hyper::Error(HYPER_NOTFOUND,
                         "\"" + std::string(needed) + "\", which virt-v2v needs, is not installed")
          .hint(kInstall);
  qemu_img = find_program("qemu-img");
  const auto ask = [&](const char* option, const Line& take) {
    if (run_program(op, {program.path, option}, take) != 0)
      throw hyper::Error(HYPER_CONFIG, "\"" + program.path + "\" does not know " + option)
          .at("/program")
          .hint(kInstall);
  };
  ask("--machine-readable", [&](int32_t stream, std::string_view line) {
    if (stream == HYPER_STREAM_STDOUT) capabilities.add_line(line);
  });
  ask("--version", [&](int32_t stream, std::string_view line) {
    if (stream == HYPER_STREAM_STDOUT && program.version.empty())
      program.version = std::string(line.substr(line.rfind(' ') + 1)).substr(0, 40);
  });
  ask("--help", [&](int32_t, std::string_view line) {
    program.no_fstrim = program.no_fstrim || line.find("--no-fstrim") != std::string_view::npos;
  });
  if (!capabilities.has("input:libvirtxml"))
    throw hyper::Error(HYPER_UNSUPPORTED,
                       "\"" + program.path + "\" " + program.version + " reads no libvirt XML")
        .at("/program");
}

Conversion::Conversion(hyper::Op op, const Settings& settings, const Tools& tools,
                       const hyper::Doc& request, const std::vector<hyper::BlockRef>& disks)
    : op_(op),
      settings_(settings),
      tools_(tools),
      disks_(disks),
      scratch_("hyperhost-v2v-",
               settings.scratch_dir.empty() ? guest::temporary_directory() : settings.scratch_dir),
      attached_(op, disks) {
  for (std::size_t i = 0; i < disks_.size(); ++i) {
    overlays_.push_back({disks_[i].id(), scratch_.path() + "/" + disks_[i].id() + ".qcow2"});
    qemu_img({"create", "-q", "-f", "qcow2", "-F", "raw", "-b",
              "nbd+unix:///?socket=" + attached_.served()[i].socket, overlays_.back().path},
             "making an overlay");
  }
  write_file(scratch_.path() + "/domain.xml", domain_xml(request, overlays_));
  std::size_t number = 0;
  for (const auto& [id, key] : settings_.keys) write_file(key_file(scratch_.path(), number++), key);
}

bool Conversion::run() {
  uint64_t phases = 0;
  // With --machine-readable its warnings come on standard output.
  const auto line_of = [&](int32_t, std::string_view line) {
    messages_.add_line(line);
    const std::string phase = phase_of(line);
    if (phase.empty()) return;
    phases = std::min(phases + 1, kPhases - 1);
    op_.progress(phases, kPhases, phase.c_str());
  };
  op_.progress(0, kPhases, "virt-v2v");
  status_ = run_program(
      op_, command_line(settings_, tools_.program, scratch_.path(), inherited_environment()),
      line_of);
  return status_ == 0;
}

hyper::Error Conversion::error() const {
  if (status_ == kTimedOut)
    return hyper::Error(HYPER_FAIL, "virt-v2v did not come to its end in time",
                        std::to_string(settings_.timeout_s) + " s")
        .rule("v2v.failed")
        .hint("timeout_seconds gives it more; without KVM it is 10 to 30 times slower");
  if (messages_.error().empty())
    return hyper::Error(HYPER_FAIL, "virt-v2v ended without a word",
                        status_ < 0 ? "signal " + std::to_string(-status_)
                                    : "exit status " + std::to_string(status_))
        .rule("v2v.failed");
  const Meaning meaning = meaning_of(messages_.error());
  // libguestfs passes on what supermin says, which makes the appliance.
  const bool appliance = messages_.error().find("supermin") != std::string::npos;
  return hyper::Error(HYPER_UNSUPPORTED, meaning.summary, messages_.error())
      .rule(meaning.rule)
      .hint(appliance ? guest::unreadable_kernels() : meaning.hint);
}

void Conversion::commit() {
  op_.progress(kPhases - 1, kPhases, "writing changes");
  for (const DomainDisk& overlay : overlays_)
    qemu_img({"commit", "-q", "-d", overlay.path}, "writing the changes of " + overlay.id);
  for (const hyper::BlockRef& disk : disks_) disk.flush(op_);
  op_.progress(kPhases, kPhases, "done");
}

void Conversion::qemu_img(std::vector<std::string> arguments, const std::string& doing) const {
  arguments.insert(arguments.begin(), tools_.qemu_img);
  std::string said;
  const int32_t status = run_program(op_, arguments, [&](int32_t, std::string_view line) {
    if (said.empty()) said = std::string(line.substr(0, 1000));
  });
  if (status == 0) return;
  const bool full = said.find("No space left") != std::string::npos;
  throw hyper::Error(full ? HYPER_NOSPACE : HYPER_FAIL, "qemu-img failed while " + doing,
                     said.empty() ? "exit status " + std::to_string(status) : said);
}

void Conversion::write_file(const std::string& path, const std::string& text) const {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const bool written =
      fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int failed = errno;
  if (fd >= 0) ::close(fd);
  if (!written) throw hyper::errno_error(failed, "cannot write a temporary file");
}

}  // namespace hyperhost::virt_v2v
