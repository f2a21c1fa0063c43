// SPDX-License-Identifier: Apache-2.0
#include "plugins/boot/qemu-boot/guest.hpp"

#include <fcntl.h>
#include <hyper/draft/listener.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "plugins/boot/qemu-boot/base64.hpp"
#include "plugins/boot/qemu-boot/evidence.hpp"
#include "plugins/boot/qemu-boot/machine.hpp"
#include "plugins/find_program.hpp"

namespace hyperhost::qemu_boot {
namespace {

constexpr const char* kInstall =
    "install it: apt-get install qemu-system-x86 (Debian, Ubuntu), dnf install qemu-system-x86 "
    "(Fedora)";

const hyper_spawn& spawner() {
  const auto* table = hyper::extension<hyper_spawn>(HYPER_EXT_SPAWN);
  if (table == nullptr)
    throw hyper::Error(HYPER_UNSUPPORTED,
                       "this host cannot start programs for plugins (no " HYPER_EXT_SPAWN ")");
  return *table;
}

struct Pair {
  Descriptor own, other;
};
Pair socket_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
    throw hyper::errno_error(errno, "cannot make a pair of sockets");
  return {Descriptor(fds[0]), Descriptor(fds[1])};
}

/// Runs a program to its end; its status, and what it said.
int run(hyper::Op op, const std::vector<std::string>& argv, std::string& said) {
  std::vector<const char*> pointers;
  for (const std::string& one : argv) pointers.push_back(one.c_str());
  pointers.push_back(nullptr);
  const hyper_on_line on_line = [](void* arg, int32_t, const char* line, uint64_t len) noexcept {
    auto& out = *static_cast<std::string*>(arg);
    try {
      if (out.size() + len < 4096) out.append(line, static_cast<std::size_t>(len)) += '\n';
    } catch (...) {  // the message stays shorter
    }
  };
  int32_t status = 0;
  hyper::check(spawner().run(op.raw(), 0, pointers.data(), on_line, &said, &status));
  return status;
}

/// Why a QEMU did not start: it is started once more where its words can be read.
hyper::Error start_error(hyper::Op op, std::vector<std::string> argv) {
  for (std::string& one : argv)
    if (one.rfind("socket,id=qmp", 0) == 0) one = "null,id=qmp";
  argv.insert(argv.begin(), {"timeout", "10"});
  std::string said;
  const int status = run(op, argv, said);
  const std::size_t end = said.find_last_not_of('\n');
  said.resize(end == std::string::npos ? 0 : end + 1);
  return hyper::Error(HYPER_FAIL, "QEMU did not start",
                      said.empty() ? "exit status " + std::to_string(status) : said);
}

}  // namespace

Guest::Guest(hyper::Op op, const std::string& qemu, const std::vector<std::string>& arguments,
             const std::string& scratch) {
  const auto* listener = hyper::extension<hyper_listener>(HYPER_EXT_LISTENER);
  if (listener == nullptr)
    throw hyper::Error(HYPER_UNSUPPORTED,
                       "this host passes no sockets to programs (no " HYPER_EXT_LISTENER ")")
        .hint("run the plugin in the host's own process: isolation: none");
  std::vector<std::string> argv;
  if (!scratch.empty()) argv = {"env", "TMPDIR=" + scratch};
  argv.push_back(qemu);
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  std::vector<const char*> pointers;
  for (const std::string& one : argv) pointers.push_back(one.c_str());
  pointers.push_back(nullptr);
  Pair sockets = socket_pair();
  hyper::check(listener->start(op.raw(), 0, pointers.data(), sockets.other.get(), &process_));
  started_ = true;
  sockets.other = Descriptor();
  try {
    qmp_ = std::make_unique<Qmp>(op, std::move(sockets.own));
  } catch (const Qmp::Ended&) {
    spawner().stop(process_);
    started_ = false;
    throw start_error(op, std::move(argv));
  } catch (...) {
    spawner().stop(process_);
    throw;
  }
}

Guest::~Guest() {
  if (started_) spawner().stop(process_);
}

std::string Guest::console(hyper::Op op, const char* name) {
  constexpr int kPiece = 256 * 1024, kMostPieces = 32;
  std::string out;
  for (int i = 0; i < kMostPieces; ++i) {
    const nlohmann::json answer =
        qmp_->call(op, "ringbuf-read", {{"device", name}, {"size", kPiece}, {"format", "base64"}});
    if (!answer.is_string()) break;
    const std::string piece = from_base64(answer.get_ref<const std::string&>());
    out += piece;
    if (piece.size() < kPiece) break;
  }
  return out;
}

std::vector<std::string> Guest::screen(hyper::Op op) {
  // The whole window of colour text: a kernel scrolls by moving the screen's begin in it. Each
  // cell is a character and its colours: "00000000000b8000: 0x0748 0x0765 …".
  const std::string dump = qmp_->human(op, "xp /16384hx 0xb8000");
  std::string characters;
  for (std::size_t at = 0; (at = dump.find("0x", at)) != std::string::npos; at += 6) {
    const unsigned long cell = std::strtoul(dump.substr(at + 2, 4).c_str(), nullptr, 16);
    characters += static_cast<char>(cell & 0xff);
  }
  return text_rows(characters);
}

std::string Guest::picture(hyper::Op op, const std::string& stem) {
  for (const char* format : {"png", "ppm"}) {
    std::string path = stem + "." + format;
    std::error_code ignored;
    std::filesystem::remove(path, ignored);  // a link that somebody put there is not followed
    try {
      qmp_->call(op, "screendump", {{"filename", path}, {"format", format}});
      return path;
    } catch (const hyper::Error&) {  // no PNG in this QEMU, or no space
      std::filesystem::remove(path, ignored);
    }
  }
  return {};
}

std::pair<uint64_t, uint64_t> Guest::moved(hyper::Op op) {
  std::pair<uint64_t, uint64_t> out{0, 0};
  for (const auto& disk : qmp_->call(op, "query-blockstats")) {
    const auto stats = disk.value("stats", nlohmann::json::object());
    out.first += stats.value("rd_bytes", uint64_t{0});
    out.second += stats.value("wr_bytes", uint64_t{0});
  }
  return out;
}

Descriptor Guest::agent_port(hyper::Op op) {
  Pair sockets = socket_pair();
  qmp_->call(op, "getfd", {{"fdname", "agent"}}, sockets.other.get());
  const nlohmann::json address{{"type", "fd"}, {"data", {{"str", "agent"}}}};
  qmp_->call(op, "chardev-add",
             {{"id", "agent"},
              {"backend", {{"type", "socket"}, {"data", {{"addr", address}, {"server", false}}}}}});
  qmp_->call(op, "device_add",
             {{"driver", "virtserialport"},
              {"bus", "ports.0"},
              {"chardev", "agent"},
              {"name", "org.qemu.guest_agent.0"}});
  return std::move(sockets.own);
}

std::string find_qemu(const std::string& program) {
  if (std::string path = find_program(program); !path.empty()) return path;
  throw hyper::Error(HYPER_NOTFOUND, "\"" + program + "\" is not installed")
      .at("/qemu")
      .hint(kInstall);
}

std::string version_of(hyper::Op op, const std::string& qemu) {
  // An unknown option of -sandbox is an error before the version is printed.
  std::string said;
  const int status = run(op, {qemu, "-sandbox", "on", "-version"}, said);
  const std::size_t at = said.find("version ");
  if (status != 0 || at == std::string::npos)
    throw hyper::Error(HYPER_CONFIG, "\"" + qemu + "\" is no QEMU that confines itself (-sandbox)",
                       said.substr(0, said.find('\n')))
        .at("/qemu")
        .hint(kInstall);
  return said.substr(at + 8, said.find_first_not_of("0123456789.", at + 8) - at - 8);
}

bool kvm_works(hyper::Op op, const std::string& qemu, std::string& why) {
  if (::access("/dev/kvm", R_OK | W_OK) != 0) {
    why = errno == ENOENT ? "this machine has no /dev/kvm"
                          : "/dev/kvm cannot be opened; the group kvm may";
    return false;
  }
  constexpr auto kLimit = std::chrono::seconds(4);
  Machine machine;
  machine.memory = uint64_t{128} << 20;
  try {
    Guest guest(op, qemu, arguments_of(machine, "kvm", {}), "");
    guest.qmp().call(op, "cont");
    std::string log;
    const auto end = std::chrono::steady_clock::now() + kLimit;
    while (std::chrono::steady_clock::now() < end) {
      static_cast<void>(guest.qmp().events(op, 100));
      log += guest.console(op, "firmware");
      if (log.find("No bootable device") != std::string::npos) return true;
    }
    why = "KVM did not bring the firmware to its end within 4 s";
  } catch (const hyper::Error& error) {
    why = std::string("KVM does not start a machine: ") + error.what();
  } catch (const Qmp::Ended&) {
    why = "KVM does not run a machine";
  }
  return false;
}

}  // namespace hyperhost::qemu_boot
