// SPDX-License-Identifier: Apache-2.0
#include "null_storage.hpp"

struct ThrowingStorage : NullStorage {
  static std::unique_ptr<ThrowingStorage> connect(hyper::Doc, hyper::Op) {
    throw std::runtime_error("thrown inside the plugin");
  }
};
struct Throws {
  using Interfaces = hyper::Interfaces<hyper::Storage<ThrowingStorage>>;
  static constexpr int32_t kThreads = HYPER_THREADS_SERIAL;
};
HYPER_PLUGIN(Throws)
