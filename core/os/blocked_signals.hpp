// SPDX-License-Identifier: Apache-2.0
// While it lives, no signal reaches this thread, nor any thread that is started meanwhile: SIGINT
// and SIGTERM are for the thread that reads them.
#pragma once

#include <signal.h>

namespace hyperhost {

class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace hyperhost
