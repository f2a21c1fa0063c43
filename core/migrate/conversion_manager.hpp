// SPDX-License-Identifier: Apache-2.0
// Moves the disks of one VM, several at once, and opens images for reading. An object for one call
// of convert_all(), by the VM's thread.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <string>

#include "core/migrate/session.hpp"
#include "core/vm/route.hpp"

namespace hyperhost {

class DiskTransfer;
struct VmRun;

class ConversionManager {
 public:
  explicit ConversionManager(VmRun& run);
  /// Takes every disk of the run that is not written yet through its transfer. vm: null where none
  /// is to be read. The first failure stops the other disks and is thrown.
  void convert_all(ProviderVmHandle* vm);

 private:
  void work(ProviderVmHandle* vm);
  void convert(DiskTransfer& disk, ProviderVmHandle* vm);
  void attempt(DiskTransfer& disk, ProviderVmHandle* vm);
  bool read_again(const Error& failure);

  VmRun& run_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> left_out_{false};
  std::mutex mutex_;
  std::exception_ptr error_;
};

/// A disk as its provider delivers it, at the speed that the plan allows.
std::shared_ptr<SourceHandle> open_delivered(VmRun& run, ProviderVmHandle* vm,
                                             const DiskRoute& route, Operation& op);

/// Threads for hashing and copying: what the machine has.
unsigned hardware_threads();

}  // namespace hyperhost
