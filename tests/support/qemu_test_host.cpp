// SPDX-License-Identifier: Apache-2.0
#include "tests/support/qemu_test_host.hpp"

#include <fcntl.h>
#include <hyper/draft/listener.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

extern char** environ;

namespace test_host {
namespace {

Operation* of(hyper_op* op) {
  return reinterpret_cast<Operation*>(op);
}

std::atomic<pid_t> g_child{0};
std::atomic<bool> g_offer_spawn{true};

hyper_st report(hyper_op* op, const hyper_diag* diag) noexcept {
  if (op != nullptr) of(op)->report(*diag);
  return diag->code;
}

hyper_st sleep_ns(hyper_op* op, uint64_t ns) noexcept {
  pollfd wait{of(op)->cancel_fd(), POLLIN, 0};
  static_cast<void>(::poll(&wait, 1, static_cast<int>(std::max<uint64_t>(ns / 1000000, 1))));
  return of(op)->cancelled() ? HYPER_CANCELLED : HYPER_OK;
}

struct Pipe {
  Pipe() {
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  }
  ~Pipe() {
    for (int end : ends)
      if (end >= 0) ::close(end);
  }
  void close_write() { ::close(std::exchange(ends[1], -1)); }
  std::array<int, 2> ends{-1, -1};
};

pid_t launch(const char* const* argv, int out, int err, int listening = -1) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  if (out >= 0)
    posix_spawn_file_actions_adddup2(&actions, out, 1);
  else
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  if (err >= 0)
    posix_spawn_file_actions_adddup2(&actions, err, 2);
  else
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  if (listening >= 0) posix_spawn_file_actions_adddup2(&actions, listening, 3);
  pid_t pid = 0;
  const int failed =
      ::posix_spawnp(&pid, argv[0], &actions, nullptr, const_cast<char* const*>(argv), environ);
  posix_spawn_file_actions_destroy(&actions);
  return failed == 0 ? pid : 0;
}

void split_lines(std::string& buffer, int32_t stream, hyper_on_line on_line, void* arg, bool end) {
  std::size_t begin = 0;
  for (std::size_t at; (at = buffer.find_first_of("\r\n", begin)) != std::string::npos;
       begin = at + 1)
    on_line(arg, stream, buffer.data() + begin, at - begin);
  buffer.erase(0, begin);
  if (end && !buffer.empty()) on_line(arg, stream, buffer.data(), buffer.size());
}

hyper_st run(hyper_op* op, uint32_t, const char* const* argv, hyper_on_line on_line, void* arg,
             int32_t* exit_status) noexcept {
  Pipe out, err;
  const pid_t pid = launch(argv, out.ends[1], err.ends[1]);
  if (pid == 0) return HYPER_NOTFOUND;
  out.close_write();
  err.close_write();
  g_child = pid;
  std::array<std::string, 2> buffers;
  std::array<pollfd, 3> waits{pollfd{out.ends[0], POLLIN, 0}, pollfd{err.ends[0], POLLIN, 0},
                              pollfd{of(op)->cancel_fd(), POLLIN, 0}};
  while (waits[0].fd >= 0 || waits[1].fd >= 0) {
    if (::poll(waits.data(), waits.size(), -1) < 0) continue;
    if (waits[2].revents != 0) {
      ::kill(pid, SIGKILL);
      waits[2].fd = -1;
    }
    for (std::size_t i = 0; i < 2; ++i) {
      if (waits[i].fd < 0 || waits[i].revents == 0) continue;
      char chunk[4096];
      const ssize_t got = ::read(waits[i].fd, chunk, sizeof chunk);
      if (got > 0) buffers[i].append(chunk, static_cast<std::size_t>(got));
      if (on_line != nullptr)
        split_lines(buffers[i], i == 0 ? HYPER_STREAM_STDOUT : HYPER_STREAM_STDERR, on_line, arg,
                    got <= 0);
      if (got <= 0) waits[i].fd = -1;
    }
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  g_child = 0;
  *exit_status = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  return of(op)->cancelled() ? HYPER_CANCELLED : HYPER_OK;
}

hyper_st start(hyper_op*, uint32_t, const char* const* argv, uint64_t* process) noexcept {
  const pid_t pid = launch(argv, -1, -1);
  if (pid == 0) return HYPER_NOTFOUND;
  g_child = pid;
  *process = static_cast<uint64_t>(pid);
  return HYPER_OK;
}

/// A shell, whose pid the program keeps, says that pid.
hyper_st start_listening(hyper_op*, uint32_t, const char* const* argv, int32_t socket,
                         uint64_t* process) noexcept {
  std::vector<const char*> words{"sh", "-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\""};
  for (; *argv != nullptr; ++argv) words.push_back(*argv);
  words.push_back(nullptr);
  const pid_t pid = launch(words.data(), -1, -1, socket);
  if (pid == 0) return HYPER_NOTFOUND;
  g_child = pid;
  *process = static_cast<uint64_t>(pid);
  return HYPER_OK;
}

int32_t alive(uint64_t process) noexcept {
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(process), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == 0;
}

void stop(uint64_t process) noexcept {
  ::kill(static_cast<pid_t>(process), SIGTERM);
  ::waitpid(static_cast<pid_t>(process), nullptr, 0);
  g_child = 0;
}

const hyper_spawn kSpawn = {sizeof(hyper_spawn), 0, run, start, alive, stop};
const hyper_listener kListener = {sizeof(hyper_listener), 0, start_listening};

const hyper_host kHost = [] {
  hyper_host made{};
  made.size = sizeof made;
  made.abi_minor = HYPER_ABI_MINOR;
  made.get_ext = [](const char* id) noexcept -> const void* {
    if (!g_offer_spawn) return nullptr;
    if (std::strcmp(id, HYPER_EXT_LISTENER) == 0) return &kListener;
    return std::strcmp(id, HYPER_EXT_SPAWN) == 0 ? &kSpawn : nullptr;
  };
  made.report = report;
  made.log = [](hyper_op*, int32_t, const char*, const hyper_doc*) noexcept {};
  made.progress = [](hyper_op* op, uint64_t done, uint64_t total, const char*) noexcept {
    of(op)->progress(done, total);
  };
  made.cancelled = [](hyper_op* op) noexcept {
    return static_cast<int32_t>(op != nullptr && of(op)->cancelled());
  };
  made.cancel_fd = [](hyper_op* op) noexcept { return static_cast<int32_t>(of(op)->cancel_fd()); };
  made.sleep = sleep_ns;
  made.buf_alloc = [](uint64_t len) noexcept -> void* { return ::malloc(len); };
  made.buf_free = [](void* buffer) noexcept { ::free(buffer); };
  hyperhost::add_document_calls(made);
  return made;
}();

}  // namespace

Operation::Operation() : cancel_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
Operation::~Operation() {
  ::close(cancel_fd_);
}

void Operation::cancel() {
  cancelled_ = true;
  static_cast<void>(::eventfd_write(cancel_fd_, 1));
}

void Operation::report(const hyper_diag& diag) {
  const auto text = [](const char* chars) { return std::string(chars == nullptr ? "" : chars); };
  const std::scoped_lock lock(mutex_);
  diags_.push_back({diag.severity, diag.code, (diag.flags & HYPER_DIAG_RETRYABLE) != 0,
                    text(diag.summary), text(diag.detail), text(diag.hint), text(diag.path)});
}

void Operation::progress(uint64_t done, uint64_t total) {
  {
    const std::scoped_lock lock(mutex_);
    progress_.emplace_back(done, total);
  }
  if (on_progress) on_progress(done);
}

std::vector<Diag> Operation::diags() const {
  const std::scoped_lock lock(mutex_);
  return diags_;
}

std::string Operation::text() const {
  std::string all;
  for (const Diag& diag : diags())
    all += "[" + std::to_string(diag.code) + "] " + diag.summary + " | " + diag.detail + " | " +
           diag.hint + "\n";
  return all;
}

std::vector<std::pair<uint64_t, uint64_t>> Operation::progress_seen() const {
  const std::scoped_lock lock(mutex_);
  return progress_;
}

TestHost::TestHost() {
  hyper::detail::host_slot() = &kHost;
}
TestHost::~TestHost() {
  g_offer_spawn = true;
}
const hyper_host& TestHost::table() {
  return kHost;
}
pid_t TestHost::child() {
  return g_child;
}
void TestHost::set_spawn(bool offered) {
  g_offer_spawn = offered;
}

TemporaryDirectory::TemporaryDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "hyperhost-test-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp");
  path_ = name;
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> TemporaryDirectory::names() const {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path_))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream out(path, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

}  // namespace test_host
