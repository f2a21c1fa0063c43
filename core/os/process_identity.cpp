// SPDX-License-Identifier: Apache-2.0
#include "core/os/process_identity.hpp"

#include <unistd.h>

#include <algorithm>
#include <climits>
#include <fstream>
#include <iterator>
#include <sstream>
#include <vector>

namespace hyperhost {
namespace {

std::string file_text(const std::string& path) {
  std::ifstream in(path);
  std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  while (!text.empty() && (text.back() == '\n' || text.back() == '\0')) text.pop_back();
  return text;
}

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  return {std::istream_iterator<std::string>(in), std::istream_iterator<std::string>()};
}

/// Field 22 of /proc/PID/stat: clock ticks from boot to its start; "" if there is no such process
/// or it has ended and only waits to be collected.
std::string start_time(const std::string& pid) {
  const std::string stat = file_text("/proc/" + pid + "/stat");
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return {};
  const auto fields = words(stat.substr(name_end + 1));  // from field 3, the state, on
  if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X") return {};
  return fields[19];
}

std::string pid_namespace() {
  char link[64] = "";
  const ssize_t size = ::readlink("/proc/self/ns/pid", link, sizeof link - 1);
  return size > 0 ? std::string(link, static_cast<std::size_t>(size)) : "?";
}

}  // namespace

const std::string& this_process() {
  static const std::string identity = [] {
    char host[HOST_NAME_MAX + 1] = "";
    ::gethostname(host, sizeof host - 1);
    std::string name = *host == '\0' ? "?" : host;
    std::replace(name.begin(), name.end(), ' ', '_');
    const std::string boot = file_text("/proc/sys/kernel/random/boot_id");
    const std::string pid = std::to_string(::getpid());
    return name + " " + (boot.empty() ? "?" : boot) + " " + pid_namespace() + " " + pid + " " +
           start_time(pid);
  }();
  return identity;
}

std::string this_boot() {
  return words(this_process()).at(1);
}

ProcessState process_state(const std::string& identity) {
  const auto one = words(identity), self = words(this_process());
  if (one.size() != 5 || self.size() != 5) return ProcessState::kGone;
  const bool same_host = one[0] == self[0], same_boot = one[1] == self[1];
  if (!same_boot) return same_host ? ProcessState::kGone : ProcessState::kUnseen;
  if (one[2] != self[2]) return ProcessState::kUnseen;
  return start_time(one[3]) == one[4] ? ProcessState::kAlive : ProcessState::kGone;
}

std::string process_name(const std::string& identity) {
  const auto one = words(identity);
  return one.size() == 5 ? "process " + one[3] + " on " + one[0] : "an unknown process";
}

}  // namespace hyperhost
