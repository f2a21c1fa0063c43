// SPDX-License-Identifier: Apache-2.0
#include "core/check/traces.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>

#include "core/os/process_identity.hpp"

namespace hyperhost::check {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kKilled = 97;  // how a step ends that stands for a kill

/// All entries in one JSON file, which every call reads and writes as a whole.
class FileJournal final : public Journal {
 public:
  explicit FileJournal(std::string path) : path_(std::move(path)) {}

  uint64_t open_entry(const std::string& plugin, const json& what) override {
    const std::lock_guard lock(mutex_);
    json all = load();
    const uint64_t id = all["next"].get<uint64_t>() + 1;
    all["next"] = id;
    all["entries"][std::to_string(id)] = {{"plugin", plugin}, {"what", what}};
    save(all);
    own_.insert(id);
    return id;
  }
  void update_entry(uint64_t id, const json& what) override {
    const std::lock_guard lock(mutex_);
    json all = load();
    entry_of(all, id)["what"] = what;
    save(all);
    own_.insert(id);
  }
  void close_entry(uint64_t id) override {
    const std::lock_guard lock(mutex_);
    json all = load();
    static_cast<void>(entry_of(all, id));
    all["entries"].erase(std::to_string(id));
    save(all);
  }
  void each_entry(const std::string& plugin,
                  const std::function<void(const JournalEntry&)>& on_entry) override {
    std::map<uint64_t, JournalEntry> found;
    {
      const std::lock_guard lock(mutex_);
      const json all = load();
      for (const auto& [key, entry] : all["entries"].items()) {
        const uint64_t id = std::stoull(key);
        if (plugin.empty() || entry["plugin"] == plugin)
          found[id] = {id, entry["plugin"].get<std::string>(), entry["what"],
                       own_.count(id) != 0 ? this_process() : std::string()};
      }
    }
    for (const auto& [id, entry] : found) on_entry(entry);
  }

 private:
  json load() const {
    std::ifstream in(path_);
    if (!in) return {{"next", 0}, {"entries", json::object()}};
    return json::parse(in);
  }
  void save(const json& all) const {
    std::ofstream out(path_, std::ios::trunc);
    out << all.dump();
    out.close();
    if (!out) throw Error(Code::kIo, "the suite's journal cannot be written", path_);
  }
  static json& entry_of(json& all, uint64_t id) {
    const auto found = all["entries"].find(std::to_string(id));
    if (found == all["entries"].end())
      throw Error(Code::kNotFound, "there is no journal entry " + std::to_string(id));
    return *found;
  }

  const std::string path_;
  std::mutex mutex_;
  std::set<uint64_t> own_;  // written last by this process
};

/// What the new process does before it becomes the step. Nothing here may allocate.
[[noreturn]] void become(const char* const* argv, int words, const char* uid_map,
                         const char* gid_map) {
  const auto put = [](const char* file, const char* text) {
    const int fd = ::open(file, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) static_cast<void>(::write(fd, text, std::strlen(text)));
  };
  if (uid_map != nullptr) {
    put("/proc/self/setgroups", "deny");
    put("/proc/self/uid_map", uid_map);
    put("/proc/self/gid_map", gid_map);
  }
  ::dup2(words, 1);
  ::execv("/proc/self/exe", const_cast<char* const*>(argv));
  ::_exit(126);
}

/// In a PID namespace of its own, where that is allowed: it is process 1 there each time.
pid_t start(Run& run, const char* const* argv, int words) {
  const std::string uid = std::to_string(::geteuid()), gid = std::to_string(::getegid());
  const std::string uid_map = uid + " " + uid + " 1", gid_map = gid + " " + gid + " 1";
  for (const unsigned long flags :
       {static_cast<unsigned long>(CLONE_NEWPID),
        static_cast<unsigned long>(CLONE_NEWUSER | CLONE_NEWPID), 0ul}) {
    if (flags == 0) run.note("this system has no PID namespace for it: process ids do not repeat");
    const bool mapped = (flags & CLONE_NEWUSER) != 0;
    const auto pid =
        static_cast<pid_t>(::syscall(SYS_clone, flags | SIGCHLD, nullptr, nullptr, nullptr, 0ul));
    if (pid == 0)
      become(argv, words, mapped ? uid_map.c_str() : nullptr, mapped ? gid_map.c_str() : nullptr);
    if (pid > 0) return pid;
  }
  throw errno_error(errno, "start a process");
}

int run_step(Run& run, const std::string& name, const std::string& step) {
  const std::vector<std::string> arguments = run.child_arguments(name, step);
  std::vector<const char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  argv.push_back(nullptr);
  const pid_t pid = start(run, argv.data(), run.words());
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  run.require(WIFEXITED(status), "it crashes with signal " + std::to_string(WTERMSIG(status)) +
                                     " in the step " + step);
  return WEXITSTATUS(status);
}

}  // namespace

Files files_below(const std::string& directory) {
  Files out;
  std::error_code error;
  for (fs::recursive_directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    struct stat info {};
    if (::lstat(it->path().c_str(), &info) != 0 || S_ISDIR(info.st_mode)) continue;
    out[it->path().lexically_relative(directory).string()] =
        std::to_string(info.st_size) + " bytes, inode " + std::to_string(info.st_ino) + ", " +
        std::to_string(info.st_mtim.tv_sec) + "." + std::to_string(info.st_mtim.tv_nsec);
  }
  return out;
}

std::string changes(const Files& before, const Files& after) {
  std::vector<std::string> found;
  for (const auto& [name, facts] : after) {
    const auto old = before.find(name);
    if (old == before.end())
      found.push_back("new: " + name);
    else if (old->second != facts)
      found.push_back("changed: " + name);
  }
  for (const auto& [name, facts] : before)
    if (after.count(name) == 0) found.push_back("gone: " + name);
  std::string out;
  for (std::size_t i = 0; i < found.size() && i < 3; ++i) out += (i == 0 ? "" : ", ") + found[i];
  return found.size() > 3 ? out + " and " + std::to_string(found.size() - 3) + " more" : out;
}

std::shared_ptr<Journal> file_journal(const std::string& path) {
  return std::make_shared<FileJournal>(path);
}

std::vector<json> open_entries(Journal& journal) {
  std::vector<json> out;
  journal.each_entry("", [&](const JournalEntry& entry) {
    json listed = entry.what;
    listed["entry"] = entry.id;
    listed["abandoned"] = process_state(entry.owner) == ProcessState::kGone;
    out.push_back(std::move(listed));
  });
  return out;
}

bool run_and_kill(Run& run, const std::string& name, const std::string& step) {
  return run_step(run, name, step) == kKilled;
}

void run_to_end(Run& run, const std::string& name, const std::string& step) {
  static_cast<void>(run_step(run, name, step));
}

void ready_to_be_killed() {
  ::_exit(kKilled);  // no destructor runs, as after SIGKILL, which process 1 would ignore
}

}  // namespace hyperhost::check
