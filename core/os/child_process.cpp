// SPDX-License-Identifier: Apache-2.0
// PR_SET_PDEATHSIG fires when the *thread* that forked ends, not the process. So all children are
// forked by one thread that lives as long as the process.
#include "core/os/child_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string_view>
#include <thread>

#include "core/base/diagnostic.hpp"
#include "core/base/redactor.hpp"

namespace hyperhost {
namespace {

class Forker {
 public:
  static Forker& instance() {
    static Forker* const forker = new Forker;  // lives until the process ends, like its thread
    return *forker;
  }

  /// Runs f on the forking thread and returns what it returns.
  int run(std::function<int()> f) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !job_; });
    job_ = &f;
    done_ = false;
    changed_.notify_all();
    changed_.wait(lock, [&] { return done_; });
    const int result = result_;
    job_ = nullptr;
    changed_.notify_all();
    return result;
  }

 private:
  Forker() {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    std::thread([this] { loop(); }).detach();
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
  }
  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return job_ != nullptr && !done_; });
      result_ = (*job_)();
      done_ = true;
      changed_.notify_all();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<int()>* job_ = nullptr;
  bool done_ = false;
  int result_ = 0;
};

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) {
    if (::access(name.c_str(), X_OK) == 0) return name;
    throw errno_error(errno, "run " + name);
  }
  const char* path = std::getenv("PATH");
  std::string rest = path == nullptr ? "/usr/local/bin:/usr/bin:/bin" : path;
  for (std::size_t begin = 0; begin <= rest.size();) {
    const std::size_t end = std::min(rest.find(':', begin), rest.size());
    std::string candidate = rest.substr(begin, end - begin) + "/" + name;
    if (end > begin && ::access(candidate.c_str(), X_OK) == 0) return candidate;
    begin = end + 1;
  }
  throw Error(Code::kNotFound, "there is no program '" + name + "' in PATH");
}

struct Pipe {
  Fd read, write;
  Pipe() {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) != 0) throw errno_error(errno, "create a pipe");
    read = Fd(fds[0]);
    write = Fd(fds[1]);
  }
};

constexpr unsigned kListenFd = 3;  // the first of systemd's protocol

/// As text, ended by a NUL, into at most 11 bytes.
void write_number(char* to, int number) {
  char digits[10];
  int count = 0;
  do digits[count++] = static_cast<char>('0' + number % 10);
  while ((number /= 10) != 0);
  while (count > 0) *to++ = digits[--count];
  *to = '\0';
}

/// Between fork and exec: async-signal-safe calls only.
[[noreturn]] void run_child(const char* program, char* const* argv, char* const* envp, int in_fd,
                            int out_fd, int err_fd, int parent, int listen_fd, char* listen_pid) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it died before the line above
  ::setpgid(0, 0);                          // a ^C on the terminal is the host's to handle
  ::dup2(in_fd, 0);
  ::dup2(out_fd, 1);
  ::dup2(err_fd, 2);
  if (listen_fd >= 0) {
    write_number(listen_pid, ::getpid());
    ::dup2(listen_fd, kListenFd);  // clears close-on-exec, unless it is that one already
    ::fcntl(kListenFd, F_SETFD, 0);
  }
  ::syscall(SYS_close_range, listen_fd >= 0 ? kListenFd + 1U : kListenFd, ~0U, 0U);
  for (int signal = 1; signal < 32; ++signal) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(program, argv, envp);
  ::_exit(127);
}

}  // namespace

std::vector<std::string> child_environment(const std::vector<std::string>& more) {
  // LD_… as the host found its libraries; …SAN_OPTIONS steer a sanitizer's build.
  static const std::vector<std::string> base = {
      "PATH",          "HOME",         "TMPDIR",      "LANG",        "LANGUAGE", "LC_*",
      "XDG_*",         "TZ",           "LD_*",        "HYPERHOST_*", "TERM",     "ASAN_OPTIONS",
      "UBSAN_OPTIONS", "LSAN_OPTIONS", "TSAN_OPTIONS"};
  const auto listed = [](const std::vector<std::string>& names, std::string_view name) {
    return std::any_of(names.begin(), names.end(), [&](std::string_view one) {
      return one.ends_with('*') ? name.starts_with(one.substr(0, one.size() - 1)) : name == one;
    });
  };
  std::vector<std::string> out{"LC_ALL=C"};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    if (name == "LC_ALL" || (!listed(base, name) && !listed(more, name))) continue;
    const bool asked = std::find(more.begin(), more.end(), name) != more.end();
    const std::string value(text.substr(std::min(text.size(), name.size() + 1)));
    if (!asked && Redactor::global().redact(value) == "[redacted]") continue;
    out.emplace_back(text);
  }
  return out;
}

ChildProcess::ChildProcess(const std::vector<std::string>& argv, int stdin_fd,
                           const std::vector<std::string>& more, int listen_fd) {
  if (argv.empty()) throw Error(Code::kFail, "no program to run");
  const std::string program = find_program(argv[0]);
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  std::vector<std::string> variables = child_environment(more);
  std::vector<char*> environment;
  for (std::string& variable : variables) environment.push_back(variable.data());
  char listen_fds[] = "LISTEN_FDS=1", listen_pid[] = "LISTEN_PID=0000000000";
  if (listen_fd >= 0) {
    environment.push_back(listen_fds);
    environment.push_back(listen_pid);
  }
  environment.push_back(nullptr);

  Pipe out, err;
  const Fd null_fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null_fd.valid()) throw errno_error(errno, "open /dev/null");
  const int parent = ::getpid();
  const int in_fd = stdin_fd < 0 ? null_fd.get() : stdin_fd;
  pid_ = Forker::instance().run([&] {
    const int pid = ::fork();
    if (pid == 0)
      run_child(program.c_str(), args.data(), environment.data(), in_fd, out.write.get(),
                err.write.get(), parent, listen_fd, std::strchr(listen_pid, '0'));
    return pid < 0 ? -errno : pid;
  });
  if (pid_ < 0) throw errno_error(-pid_, "start " + program);
  pid_fd_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  if (!pid_fd_.valid()) {
    const int saved = errno;
    stop(std::chrono::milliseconds(0));
    throw errno_error(saved, "watch " + program);
  }
  stdout_ = std::move(out.read);
  stderr_ = std::move(err.read);
}

ChildProcess::~ChildProcess() {
  stop(std::chrono::milliseconds(0));
}

bool ChildProcess::running() {
  if (reaped_ || pid_ < 0) return false;
  const int got = ::waitpid(pid_, &status_, WNOHANG);
  if (got == pid_) reaped_ = true;
  return !reaped_;
}

int ChildProcess::wait() {
  while (!reaped_) {
    if (::waitpid(pid_, &status_, 0) == pid_)
      reaped_ = true;
    else if (errno != EINTR)
      throw errno_error(errno, "wait for a child process");
  }
  return WIFSIGNALED(status_) ? -WTERMSIG(status_) : WEXITSTATUS(status_);
}

void ChildProcess::stop(std::chrono::milliseconds grace) {
  if (!running()) return;
  if (grace.count() > 0) {
    ::kill(pid_, SIGTERM);
    pollfd wait_for{pid_fd_.get(), POLLIN, 0};
    ::poll(&wait_for, 1, static_cast<int>(grace.count()));
  }
  if (running()) ::kill(pid_, SIGKILL);
  wait();
}

bool read_lines(ChildProcess& child, int cancel_fd,
                const std::function<void(int, const std::string&)>& on_line) {
  constexpr std::size_t kMaxLine = 64 * 1024;
  std::string pending[2];
  bool open[2] = {true, true};
  const int fds[2] = {child.stdout_fd(), child.stderr_fd()};
  bool ended = false;
  while (open[0] || open[1]) {
    pollfd wait_for[4] = {{open[0] ? fds[0] : -1, POLLIN, 0},
                          {open[1] ? fds[1] : -1, POLLIN, 0},
                          {cancel_fd, POLLIN, 0},
                          {ended ? -1 : child.pid_fd(), POLLIN, 0}};
    // Once it has ended, what is still in the pipes is read, but a grandchild that holds them
    // open is not waited for.
    const int ready = ::poll(wait_for, 4, ended ? 0 : -1);
    if (ready < 0 && errno != EINTR) throw errno_error(errno, "wait for a child process");
    if (ready == 0) break;
    if (wait_for[2].revents != 0) {
      child.stop(std::chrono::seconds(1));
      return false;
    }
    if (wait_for[3].revents != 0) ended = true;
    for (int i = 0; i < 2; ++i) {
      if ((wait_for[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
      char buffer[16 * 1024];
      const ssize_t got = ::read(fds[i], buffer, sizeof buffer);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        open[i] = false;
        continue;
      }
      for (ssize_t at = 0; at < got; ++at) {
        const char c = buffer[at];
        if (c != '\n' && c != '\r') {
          if (pending[i].size() < kMaxLine) pending[i] += c;
        } else if (!pending[i].empty()) {
          on_line(i + 1, pending[i]);
          pending[i].clear();
        }
      }
    }
  }
  for (int i = 0; i < 2; ++i)
    if (!pending[i].empty()) on_line(i + 1, pending[i]);
  return true;
}

}  // namespace hyperhost
