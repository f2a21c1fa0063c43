// SPDX-License-Identifier: Apache-2.0
// A guest plugin for tests: it tries to reach what its process should not reach. Each of its
// actions says what it tried and, in "after", how that ended: "done", or the name of the error.
#include <hyper/draft/guest.hpp>
#include <hyper/plugin.hpp>

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

namespace {

std::string ended(bool worked) {
  return worked ? "done" : ::strerrorname_np(errno);
}

std::string connects(int kind, const std::string& host, int port) {
  const int socket = ::socket(AF_INET, kind | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  ::inet_pton(AF_INET, host.c_str(), &address.sin_addr);
  const bool worked =
      ::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  const std::string out = ended(worked);
  ::close(socket);
  return out;
}

std::string connects_abstract(const std::string& name) {
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  const std::string out =
      ended(::connect(socket, reinterpret_cast<const sockaddr*>(&address), length) == 0);
  ::close(socket);
  return out;
}

std::string reads(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char byte = 0;
  const std::string out = ended(file >= 0 && ::read(file, &byte, 1) == 1);
  if (file >= 0) ::close(file);
  return out;
}

std::string interfaces() {
  std::string out;
  struct if_nameindex* const all = ::if_nameindex();
  for (auto* one = all; one != nullptr && one->if_index != 0; ++one)
    out += (out.empty() ? "" : " ") + std::string(one->if_name);
  ::if_freenameindex(all);
  return out;
}

/// The first line that a command says.
std::string says(const std::string& command) {
  char line[256] = "";
  FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return ended(false);
  if (std::fgets(line, sizeof line, pipe) == nullptr) line[0] = 0;
  ::pclose(pipe);
  line[std::strcspn(line, "\n")] = 0;
  return line;
}

std::string line_of_status(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(name, 0) == 0) return line.substr(name.size());
  return "";
}

class Burglar final : public hyper::GuestInstance {
 public:
  static std::unique_ptr<Burglar> open(const hyper::Doc& options, hyper::Op) {
    auto out = std::make_unique<Burglar>();
    out->connect_ = options.string("/connect");
    out->abstract_ = options.string("/abstract");
    out->attach_ = static_cast<int32_t>(options.integer("/attach"));
    options.each("/read", [&](const hyper::Doc& one) { out->read_.push_back(one.string("")); });
    return out;
  }
  std::string plan(hyper::Op, const hyper::Doc&) override { return R"({"families": ["any"]})"; }
  std::string inspect(hyper::Op, const hyper::Doc&, const std::vector<hyper::BlockRef>&) override {
    return R"({"roots": [], "findings": []})";
  }
  std::string prepare(hyper::Op op, const hyper::Doc&,
                      const std::vector<hyper::BlockRef>& disks) override {
    hyper::DocBuilder answer;
    answer.array("/actions");
    const auto tried = [&](const std::string& what, const std::string& how) {
      hyper::DocBuilder one;
      one.set("/rule", "burglar.tried").set("/what", what).set("/after", how);
      answer.append("/actions", one);
    };
    if (const std::size_t colon = connect_.rfind(':'); colon != std::string::npos)
      tried("connect", connects(SOCK_STREAM, connect_.substr(0, colon),
                                std::atoi(connect_.c_str() + colon + 1)));
    if (!abstract_.empty()) tried("abstract", connects_abstract(abstract_));
    tried("route", connects(SOCK_DGRAM, "192.0.2.1", 9));  // sends nothing
    tried("interfaces", interfaces());
    for (const std::string& path : read_) tried("read " + path, reads(path));
    tried("environment of the host", reads("/proc/" + std::to_string(::getppid()) + "/environ"));
    for (char** one = environ; *one != nullptr; ++one) {
      const std::string variable = *one;
      tried("variable " + variable.substr(0, variable.find('=')),
            variable.substr(std::min(variable.size(), variable.find('=') + 1)));
    }
    tried("user", std::to_string(::geteuid()));
    tried("capabilities", line_of_status("CapEff:\t"));
    tried("become root", ended(::setuid(0) == 0));
    if (attach_ != 0) {
      const hyper::DocBuilder attached = disks.front().attach(op, attach_);
      tried("attach", attached.json());
      tried("size", says("nbdinfo --size '" + attached.doc().string("/uri") + "' 2>&1"));
      disks.front().detach(op);
      tried("detached", says("nbdinfo --size '" + attached.doc().string("/uri") + "' 2>&1"));
    }
    answer.set("/root", "/dev/known");
    return answer.json();
  }

 private:
  std::string connect_, abstract_;
  std::vector<std::string> read_;
  int32_t attach_ = 0;
};

struct BurglarPlugin {
  using Interfaces = hyper::Interfaces<hyper::Guest<Burglar>>;
  static constexpr int32_t kThreads = HYPER_THREADS_PARALLEL;
};

}  // namespace

HYPER_PLUGIN(BurglarPlugin)
