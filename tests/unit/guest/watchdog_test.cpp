// SPDX-License-Identifier: Apache-2.0
// What ends libguestfs' appliance, with a process in its place that has its name.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <hyper/testing/host.hpp>

#include "plugins/guest/guestfs/watchdog.hpp"

namespace hyperhost::guestfs {
namespace {

using std::chrono::seconds;

/// A child that sleeps under that name.
pid_t sleeper(const std::string& name) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execlp("sleep", name.c_str(), "300", nullptr);
    ::_exit(127);
  }
  return pid;
}

int end_of(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : -1;
}

TEST(Watchdog, ACancelKillsTheAppliance) {
  hyper::testing::Host host;
  Watchdog watchdog(host.op(), {"/run/one.sock"}, seconds(3600));
  const pid_t appliance = sleeper("org.libguestfs.channel.0 nbd:unix:/run/one.sock");
  const pid_t other_guest = sleeper("org.libguestfs.channel.0 nbd:unix:/run/two.sock");
  const pid_t server = sleeper("qemu-nbd --socket=/run/one.sock");
  EXPECT_EQ(watchdog.reason(), Watchdog::Reason::kNone);
  host.cancel();
  EXPECT_EQ(end_of(appliance), SIGKILL);
  EXPECT_EQ(watchdog.reason(), Watchdog::Reason::kCancelled);
  for (const pid_t pid : {other_guest, server}) {
    EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), 0) << "it was killed too";
    ::kill(pid, SIGTERM);
    EXPECT_EQ(end_of(pid), SIGTERM);
  }
}

TEST(Watchdog, TimeIsBounded) {
  hyper::testing::Host host;
  const pid_t appliance = sleeper("org.libguestfs.channel.0 /run/one.sock");
  Watchdog watchdog(host.op(), {"/run/one.sock"}, seconds(0));
  EXPECT_EQ(end_of(appliance), SIGKILL);
  EXPECT_EQ(watchdog.reason(), Watchdog::Reason::kTimeout);
}

TEST(Watchdog, SilenceKillsOnlyAnApplianceThatRuns) {
  hyper::testing::Host host;
  Watchdog watchdog(host.op(), {"/run/one.sock"}, seconds(3600));
  watchdog.expect_life(seconds(1));
  std::this_thread::sleep_for(seconds(2));  // it is being built
  EXPECT_EQ(watchdog.reason(), Watchdog::Reason::kNone);
  const pid_t appliance = sleeper("org.libguestfs.channel.0 /run/one.sock");
  EXPECT_EQ(end_of(appliance), SIGKILL);
  EXPECT_EQ(watchdog.reason(), Watchdog::Reason::kStalled);
  watchdog.reset();
  EXPECT_EQ(watchdog.reason(), Watchdog::Reason::kNone);
}

}  // namespace
}  // namespace hyperhost::guestfs
