// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/object/retry.hpp"

#include <random>

namespace hyper::object {

double random_fraction() {
  thread_local std::minstd_rand engine{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(engine);
}

}  // namespace hyper::object
