// SPDX-License-Identifier: Apache-2.0
// Runs one call of the guest plugin as the host does, without a migration around it:
//
//   guest_driver plan|inspect|prepare OPTIONS.json REQUEST.json DISK…
//
// The plugin comes from the core's registry. qemu-nbd serves each disk on a Unix socket. The answer
// is the last line of standard output; what was reported goes to standard error. prepare writes to
// the disks.
#include <hyper/draft/guest.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "core/base/diagnostic.hpp"
#include "core/plugin/guest_handle.hpp"
#include "core/plugin/operation.hpp"
#include "core/plugin/registry.hpp"

extern char** environ;

namespace {

namespace fs = std::filesystem;
using hyperhost::Operation;
using hyperhost::Options;

[[noreturn]] void fail(const std::string& why) {
  throw std::runtime_error(why);
}

nlohmann::json document(const char* path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in);
}

class Directory {
 public:
  Directory() : path_((fs::temp_directory_path() / "guest-driver-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) fail("no temporary directory");
  }
  ~Directory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// One disk behind qemu-nbd, as a hyper_block that can only be attached.
class Disk {
 public:
  Disk(const std::string& image, unsigned number, const std::string& directory, bool writable)
      : id_("disk-" + std::to_string(number)), socket_(directory + "/" + id_ + ".sock") {
    std::vector<std::string> words = {"qemu-nbd",           "--persistent",
                                      "--shared=8",         "--discard=ignore",
                                      "--cache=unsafe",     "--format=" + format_of(image),
                                      "--socket=" + socket_};
    if (!writable) words.emplace_back("--read-only");
    words.push_back(image);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    if (::posix_spawnp(&server_, "qemu-nbd", nullptr, nullptr, arguments.data(), environ) != 0)
      fail("qemu-nbd does not start");
    wait_until_served();
    block_.size = sizeof block_;
    block_.flags = HYPER_BLOCK_ATTACH | (writable ? HYPER_BLOCK_WRITE : 0u);
    block_.ctx = this;
    block_.id = id_.c_str();
    block_.block_min = 1;
    block_.max_parallel = 8;
    block_.attach = [](void* self, hyper_op*, uint32_t, int32_t how, hyper_emit emit,
                       void* arg) noexcept -> hyper_st {
      if (how != HYPER_ATTACH_NBD_UNIX) return HYPER_UNSUPPORTED;
      const std::string& socket = static_cast<Disk*>(self)->socket_;
      const std::string answer = nlohmann::json{
          {"uri", "nbd+unix:///?socket=" + socket},
          {"socket", socket},
          {"export", ""}}.dump();
      return emit(arg, answer.data(), answer.size());
    };
    block_.detach = [](void*, hyper_op*, uint32_t) noexcept -> hyper_st { return HYPER_OK; };
  }
  ~Disk() {
    // qemu-nbd forgets a signal that comes before its main loop.
    while (server_ > 0 && ::waitpid(server_, nullptr, WNOHANG) == 0) {
      ::kill(server_, SIGTERM);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  const hyper_block& block() const { return block_; }

 private:
  static std::string format_of(const std::string& image) {
    std::ifstream in(image, std::ios::binary);
    char magic[4] = {};
    in.read(magic, sizeof magic);
    return std::memcmp(magic, "QFI\xfb", sizeof magic) == 0 ? "qcow2" : "raw";
  }
  /// qemu-nbd makes its socket when it listens.
  bool served() const { return ::access(socket_.c_str(), F_OK) == 0; }
  void wait_until_served() {
    while (!served()) {
      if (::waitpid(server_, nullptr, WNOHANG) != 0) {
        server_ = -1;
        fail("qemu-nbd ended");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  std::string id_, socket_;
  pid_t server_ = -1;
  hyper_block block_{};
};

int run(const std::string& verb, char** arguments, int count) {
  hyperhost::PluginRegistry registry({{GUEST_PLUGIN_DIR, "built-in", true}});
  const Options options(document(arguments[0]));
  const nlohmann::json request = document(arguments[1]);
  const bool writes = verb == "prepare";
  const Directory directory;
  std::vector<std::unique_ptr<Disk>> disks;
  std::vector<hyper_block> blocks;
  for (int i = 2; i < count; ++i) {
    disks.push_back(std::make_unique<Disk>(arguments[i], static_cast<unsigned>(i - 2),
                                           directory.path(), writes));
    blocks.push_back(disks.back()->block());
  }
  Operation op("guest", hyperhost::CancelSource::create());
  op.on_notice([](const hyperhost::Diagnostic& notice) {
    std::cerr << hyperhost::to_string(notice) << "\n";
  });
  hyperhost::GuestHandle guest(registry.load(registry.default_for(HYPER_IFACE_GUEST)), options, op);
  const nlohmann::json answer = verb == "plan"      ? guest.plan(op, request)
                                : verb == "inspect" ? guest.inspect(op, request, blocks)
                                                    : guest.prepare(op, request, blocks);
  std::cout << answer << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::cerr << "usage: guest_driver plan|inspect|prepare OPTIONS.json REQUEST.json DISK…\n";
    return 2;
  }
  try {
    return run(argv[1], argv + 2, argc - 2);
  } catch (const std::exception& error) {
    std::cerr << "guest_driver: " << error.what() << "\n";
    return 1;
  }
}
