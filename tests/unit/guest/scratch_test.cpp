// SPDX-License-Identifier: Apache-2.0
// What is left of a guest plugin's directory, by the end of its owner.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "plugins/guest/scratch/kernels.hpp"
#include "plugins/guest/scratch/scratch.hpp"

namespace hyperhost::guest {
namespace {

namespace fs = std::filesystem;

class ScratchTest : public testing::Test {
 protected:
  ScratchTest() {
    char name[] = "/tmp/hyperhost-scratch-XXXXXX";
    parent_ = ::mkdtemp(name);
  }
  ~ScratchTest() override { fs::remove_all(parent_); }
  std::ptrdiff_t entries() const {
    return std::distance(fs::directory_iterator(parent_), fs::directory_iterator());
  }
  /// A process that makes one and waits to be killed.
  pid_t owner() {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      const Scratch scratch("hyperhost-test-", parent_);
      std::ofstream(scratch.path() + "/overlay") << "guest";
      static_cast<void>(::write(ready[1], "x", 1));
      for (;;) ::pause();
    }
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    ::close(ready[1]);
    return pid;
  }
  static void end(pid_t pid) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  std::string parent_;
};

TEST_F(ScratchTest, ItGoesWithItsOwner) {
  {
    const Scratch one("hyperhost-test-", parent_), other("hyperhost-test-", parent_);
    EXPECT_NE(one.path(), other.path());
    EXPECT_EQ(fs::status(one.path()).permissions(), fs::perms::owner_all);
    std::ofstream(one.path() + "/overlay") << "guest";
    EXPECT_EQ(entries(), 2);
  }
  EXPECT_EQ(entries(), 0);
}

TEST_F(ScratchTest, TheNextOneRemovesWhatAKilledOwnerLeft) {
  const pid_t alive = owner(), killed = owner();
  fs::create_directory(parent_ + "/of-somebody-else");
  fs::create_directory_symlink("of-somebody-else", parent_ + "/hyperhost-guestfs-link");
  EXPECT_EQ(entries(), 4);
  end(killed);
  {
    const Scratch next("hyperhost-test-", parent_);
    EXPECT_EQ(entries(), 4) << "the killed one's is gone, and there is a new one";
  }
  EXPECT_TRUE(fs::exists(parent_ + "/of-somebody-else"));
  end(alive);
  { const Scratch next("hyperhost-test-", parent_); }
  EXPECT_EQ(entries(), 2);
}

TEST_F(ScratchTest, APlaceThatIsNotThereIsAnError) {
  EXPECT_ANY_THROW(Scratch("hyperhost-test-", parent_ + "/nowhere"));
}

TEST_F(ScratchTest, KernelsThatThisUserCannotReadAreAHint) {
  // In a child, which is not root: root reads everything.
  const auto hinted = [&] {
    const pid_t pid = ::fork();
    if (pid == 0) {
      if (::geteuid() == 0 && (::setgid(65534) != 0 || ::setuid(65534) != 0)) ::_exit(9);
      ::_exit(unreadable_kernels(parent_).find("chmod 0644") != std::string::npos ? 1 : 0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
  };
  fs::permissions(parent_, fs::perms(0755));
  EXPECT_EQ(hinted(), 0) << "there is no kernel";
  const std::string first = parent_ + "/vmlinuz-1", second = parent_ + "/vmlinuz-2";
  for (const std::string& kernel : {first, second}) {
    std::ofstream(kernel) << "kernel";
    fs::permissions(kernel, fs::perms::none);
  }
  EXPECT_EQ(hinted(), 1);
  fs::permissions(second, fs::perms(0644));
  EXPECT_EQ(hinted(), 0);
  EXPECT_EQ(unreadable_kernels(parent_ + "/nowhere"), "");
}

}  // namespace
}  // namespace hyperhost::guest
