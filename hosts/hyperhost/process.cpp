// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <iostream>

#include "hosts/hyperhost/context.hpp"

namespace hyperhost {

void keep_memory_private() {
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

void secure_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd)
    if (::fcntl(fd, F_GETFD) == -1 && errno == EBADF)
      static_cast<void>(::open("/dev/null", O_RDWR));
  // A reader that leaves (a pager, `| head`) is no reason to drop a migration.
  ::signal(SIGPIPE, SIG_IGN);
  // Beyond the limit of file sizes (ulimit -f) write() fails with EFBIG, which is reported.
  ::signal(SIGXFSZ, SIG_IGN);
}

namespace {

/// A pager that was closed, `| head`: it has what it wanted.
bool reader_left() {
  pollfd output{STDOUT_FILENO, POLLOUT, 0};
  return ::poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

}  // namespace

int with_output_written(int status) {
  std::cout.flush();
  if (std::cout.good() || reader_left()) return status;
  std::cerr << "error: standard output could not be written\n";
  return status == kExitOk ? kExitFailed : status;
}

}  // namespace hyperhost
