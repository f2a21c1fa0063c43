// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/appliance.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace hyperhost::guestfs {
namespace {

constexpr std::size_t kPiece = 1u << 20;  // a message of libguestfs has at most 4 MiB
constexpr std::size_t kMostMessages = 4096;
// Of a boot. Emulation on a busy machine is slow.
constexpr std::chrono::seconds kKvmStall{20}, kTcgStall{300};

struct FreeList {
  void operator()(char** list) const {
    for (char** one = list; *one != nullptr; ++one) std::free(*one);
    std::free(list);
  }
};

/// QEMU's command line names what it opens: the sockets, or overlays in our directory.
std::vector<std::string> marks_of(const std::string& scratch,
                                  const std::vector<ServedDisk>& disks) {
  std::vector<std::string> marks = {scratch};
  for (const ServedDisk& disk : disks) marks.push_back(disk.socket);
  return marks;
}

}  // namespace

std::string library_version() {
  const std::unique_ptr<guestfs_h, void (*)(guestfs_h*)> g(
      guestfs_create_flags(GUESTFS_CREATE_NO_ENVIRONMENT | GUESTFS_CREATE_NO_CLOSE_ON_EXIT),
      guestfs_close);
  if (g == nullptr) return "unknown";
  struct guestfs_version* version = guestfs_version(g.get());
  if (version == nullptr) return "unknown";
  std::string text = std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                     std::to_string(version->release);
  guestfs_free_version(version);
  return text;
}

Appliance::Appliance(hyper::Op op, const Settings& settings, const std::vector<ServedDisk>& disks)
    : op_(op),
      settings_(settings),
      watchdog_(op, marks_of(scratch_.path(), disks), std::chrono::seconds(settings.timeout_s)) {
  const bool offered = ::access("/dev/kvm", R_OK | W_OK) == 0;
  if (settings.accel == "kvm" || (settings.accel == "auto" && offered)) {
    try {
      make(disks, true);
      return;
    } catch (const hyper::Error& error) {
      // On some virtual machines KVM opens, and then fails or does not get a guest going.
      if (settings.accel == "kvm" || watchdog_.reason() == Watchdog::Reason::kTimeout) throw;
      op.info("KVM does not get the appliance going here; emulation takes over");
      op.debug(error.what());
    }
    watchdog_.reset();
  }
  make(disks, false);
}

Appliance::~Appliance() = default;

void Appliance::make(const std::vector<ServedDisk>& disks, bool kvm) {
  g_.reset(guestfs_create_flags(GUESTFS_CREATE_NO_CLOSE_ON_EXIT));
  if (g_ == nullptr) throw hyper::errno_error(errno, "libguestfs cannot be used");
  guestfs_h* g = g_.get();
  guestfs_set_error_handler(g, nullptr, nullptr);
  accel_ = kvm ? "kvm" : "tcg";
  char setting[] = "force_tcg";
  char* settings[] = {setting, nullptr};
  char* none[] = {nullptr};
  need(guestfs_set_backend(g, "direct") == 0);
  need(guestfs_set_backend_settings(g, kvm ? none : settings) == 0);
  need(guestfs_set_tmpdir(g, scratch_.path().c_str()) == 0);
  need(guestfs_set_memsize(g, settings_.memory_mib) == 0);
  need(guestfs_set_smp(g, settings_.cpus) == 0);
  need(guestfs_set_network(g, 0) == 0);
  need(guestfs_set_autosync(g, 1) == 0);
  need(guestfs_set_pgroup(g, 1) == 0);
  // The appliance's messages show that it gets on, and why it does not.
  need(guestfs_set_verbose(g, 1) == 0);
  guestfs_set_event_callback(
      g,
      [](guestfs_h*, void* self, uint64_t event, int, int, const char* text, size_t length,
         const uint64_t*, size_t) {
        auto& appliance = *static_cast<Appliance*>(self);
        if (event == GUESTFS_EVENT_APPLIANCE) appliance.watchdog_.alive();
        appliance.keep_message(text, length);
      },
      GUESTFS_EVENT_APPLIANCE | GUESTFS_EVENT_LIBRARY, 0, this);
  for (const ServedDisk& disk : disks) add(disk);
  launch(disks);
}

void Appliance::add(const ServedDisk& disk) {
  std::string server = "unix:" + disk.socket;
  char* servers[] = {server.data(), nullptr};
  struct guestfs_add_drive_opts_argv options {};
  options.bitmask = GUESTFS_ADD_DRIVE_OPTS_READONLY_BITMASK |
                    GUESTFS_ADD_DRIVE_OPTS_FORMAT_BITMASK |
                    GUESTFS_ADD_DRIVE_OPTS_PROTOCOL_BITMASK |
                    GUESTFS_ADD_DRIVE_OPTS_SERVER_BITMASK | GUESTFS_ADD_DRIVE_OPTS_DISCARD_BITMASK;
  options.readonly = disk.writable ? 0 : 1;
  options.format = "raw";
  options.protocol = "nbd";
  options.server = servers;
  options.discard = "disable";
  need(guestfs_add_drive_opts_argv(g_.get(), disk.export_name.c_str(), &options) == 0);
}

void Appliance::launch(const std::vector<ServedDisk>& disks) {
  watchdog_.expect_life(accel_ == "kvm" ? kKvmStall : kTcgStall);
  const bool started = guestfs_launch(g_.get()) == 0;
  watchdog_.expect_life(std::chrono::seconds(0));
  if (!started && watchdog_.reason() == Watchdog::Reason::kNone)
    throw hyper::Error(HYPER_FAIL, "libguestfs' appliance does not start with " + accel_,
                       last_error() + "; its last messages: " + messages_)
        .hint("libguestfs-test-tool shows what it needs and lacks.");
  need(started);
  guestfs_set_verbose(g_.get(), 0);
  need(words(guestfs_list_devices(g_.get())).size() == disks.size());
}

void Appliance::keep_message(const char* text, std::size_t length) {
  for (std::size_t i = 0; i < length; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    messages_ += c == '\n' || (c >= 0x20 && c < 0x7f) ? text[i] : '?';
  }
  if (messages_.size() > kMostMessages) messages_.erase(0, messages_.size() - kMostMessages);
}

void Appliance::finish() {
  need(guestfs_umount_all(g_.get()) == 0);
  need(guestfs_shutdown(g_.get()) == 0);
}

std::string Appliance::last_error() const {
  const char* error = guestfs_last_error(g_.get());
  return error == nullptr ? "no reason is known" : error;
}

void Appliance::need(bool worked) {
  if (worked) return;
  switch (watchdog_.reason()) {
    case Watchdog::Reason::kCancelled:
      throw hyper::Reported(HYPER_CANCELLED);
    case Watchdog::Reason::kTimeout:
      throw hyper::Error(HYPER_FAIL, "the guest's preparation took too long",
                         std::to_string(settings_.timeout_s) + " s")
          .hint("Raise the plugin's option timeout_seconds.");
    case Watchdog::Reason::kStalled:
      throw hyper::Error(HYPER_FAIL, "libguestfs' appliance does not start", "with " + accel_);
    case Watchdog::Reason::kNone:
      break;
  }
  throw hyper::Error(HYPER_FAIL, "libguestfs failed", last_error().substr(0, 4096))
      .native(guestfs_last_errno(g_.get()));
}

std::string Appliance::text(char* result) {
  need(result != nullptr);
  const std::unique_ptr<char, void (*)(void*)> owned(result, std::free);
  return result;
}

std::vector<std::string> Appliance::words(char** result) {
  need(result != nullptr);
  const std::unique_ptr<char*, FreeList> owned(result);
  std::vector<std::string> out;
  for (char** one = result; *one != nullptr; ++one) out.emplace_back(*one);
  return out;
}

std::map<std::string, std::string> Appliance::pairs(char** result) {
  const std::vector<std::string> all = words(result);
  std::map<std::string, std::string> out;
  for (std::size_t i = 0; i + 1 < all.size(); i += 2) out[all[i]] = all[i + 1];
  return out;
}

uint64_t Appliance::bytes_read(unsigned disk) {
  const std::vector<std::string> devices = words(guestfs_list_devices(g_.get()));
  if (disk >= devices.size()) return 0;
  const std::string name = devices[disk].substr(devices[disk].rfind('/') + 1);
  std::string command = "cat", file = "/sys/block/" + name + "/stat";
  char* arguments[] = {command.data(), file.data(), nullptr};
  char* result = guestfs_debug(g_.get(), "sh", arguments);
  if (result == nullptr) return 0;  // a figure for people
  const std::unique_ptr<char, void (*)(void*)> owned(result, std::free);
  std::istringstream fields(result);
  uint64_t reads = 0, merged = 0, sectors = 0;
  return fields >> reads >> merged >> sectors ? sectors * 512 : 0;
}

bool Appliance::is_file(const std::string& path) {
  const int found =
      guestfs_is_file_opts(g_.get(), path.c_str(), GUESTFS_IS_FILE_OPTS_FOLLOWSYMLINKS, 1, -1);
  // A link that leads nowhere, or round in circles, is no file.
  if (found < 0 && watchdog_.reason() != Watchdog::Reason::kNone) need(false);
  return found == 1;
}

bool Appliance::is_directory(const std::string& path) {
  const int found =
      guestfs_is_dir_opts(g_.get(), path.c_str(), GUESTFS_IS_DIR_OPTS_FOLLOWSYMLINKS, 1, -1);
  if (found < 0 && watchdog_.reason() != Watchdog::Reason::kNone) need(false);
  return found == 1;
}

std::optional<std::string> Appliance::read(const std::string& path) {
  if (!is_file(path)) return std::nullopt;
  std::string out;
  for (;;) {
    size_t length = 0;
    char* piece =
        guestfs_pread(g_.get(), path.c_str(), kPiece, static_cast<int64_t>(out.size()), &length);
    need(piece != nullptr);
    const std::unique_ptr<char, void (*)(void*)> owned(piece, std::free);
    out.append(piece, length);
    if (length == 0) return out;
    if (out.size() > kMostFileBytes)
      throw hyper::Error(HYPER_UNSUPPORTED, "a file of the guest is too long",
                         path + ": more than " + std::to_string(kMostFileBytes >> 20) + " MiB");
  }
}

std::string Appliance::read_part(const std::string& path, uint64_t offset, uint64_t most) {
  std::string out;
  while (out.size() < most) {
    size_t length = 0;
    char* piece = guestfs_pread(g_.get(), path.c_str(),
                                static_cast<int>(std::min<uint64_t>(kPiece, most - out.size())),
                                static_cast<int64_t>(offset + out.size()), &length);
    need(piece != nullptr);
    const std::unique_ptr<char, void (*)(void*)> owned(piece, std::free);
    out.append(piece, length);
    if (length == 0) break;
  }
  return out;
}

std::vector<std::string> Appliance::list(const std::string& directory) {
  if (!is_directory(directory)) return {};
  std::vector<std::string> names = words(guestfs_ls(g_.get(), directory.c_str()));
  if (names.size() > kMostNames)
    throw hyper::Error(HYPER_UNSUPPORTED, "a directory of the guest has too many entries",
                       directory);
  // No distribution writes other names. Messages and documents have to carry these.
  names.erase(std::remove_if(names.begin(), names.end(),
                             [](const std::string& name) {
                               return std::any_of(name.begin(), name.end(),
                                                  [](char c) { return c <= ' ' || c > '~'; });
                             }),
              names.end());
  return names;
}

uint64_t Appliance::size(const std::string& path) {
  const int64_t size = guestfs_filesize(g_.get(), path.c_str());
  need(size >= 0);
  return static_cast<uint64_t>(size);
}

uint64_t Appliance::free_bytes(const std::string& path) {
  struct guestfs_statvfs* stat = guestfs_statvfs(g_.get(), path.c_str());
  need(stat != nullptr);
  const uint64_t free = static_cast<uint64_t>(stat->bavail) * static_cast<uint64_t>(stat->frsize);
  guestfs_free_statvfs(stat);
  return free;
}

std::string Appliance::digest(const std::string& path) {
  if (!is_file(path)) return {};
  return "sha256:" + text(guestfs_checksum(g_.get(), "sha256", path.c_str()));
}

void Appliance::write(const std::string& path, const std::string& content) {
  const std::size_t slash = path.rfind('/');
  if (slash != 0 && slash != std::string::npos && !is_directory(path.substr(0, slash)))
    need(guestfs_mkdir_p(g_.get(), path.substr(0, slash).c_str()) == 0);
  need(guestfs_write(g_.get(), path.c_str(), content.data(), content.size()) == 0);
}

void Appliance::remove(const std::string& path) {
  need(guestfs_rm_f(g_.get(), path.c_str()) == 0);
}

void Appliance::copy(const std::string& from, const std::string& to) {
  const std::size_t slash = to.rfind('/');
  if (slash != 0 && !is_directory(to.substr(0, slash)))
    need(guestfs_mkdir_p(g_.get(), to.substr(0, slash).c_str()) == 0);
  need(guestfs_cp(g_.get(), from.c_str(), to.c_str()) == 0);
}

std::string Appliance::run(const std::vector<std::string>& command) {
  std::vector<std::string> all = {
      "/usr/bin/env", "-i",         "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
      "LC_ALL=C",     "HOME=/root", "DEBIAN_FRONTEND=noninteractive"};
  all.insert(all.end(), command.begin(), command.end());
  std::vector<char*> arguments;
  for (std::string& one : all) arguments.push_back(one.data());
  arguments.push_back(nullptr);
  char* result = guestfs_command(g_.get(), arguments.data());
  if (result == nullptr && watchdog_.reason() == Watchdog::Reason::kNone)
    throw hyper::Error(HYPER_FAIL, "the guest's program '" + command.front() + "' failed",
                       last_error().substr(0, 4096));
  return text(result);
}

}  // namespace hyperhost::guestfs
