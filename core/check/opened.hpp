// SPDX-License-Identifier: Apache-2.0
// Opens the plugin under test, for the cases of the kinds that need programs of the machine.
#pragma once

#include <memory>
#include <string>

#include "core/check/run.hpp"

namespace hyperhost::check {

/// Skips the case where the plugin does not find what it works with. deed: "start machines".
template <class Handle>
std::unique_ptr<Handle> opened(Run& run, const char* iface, const std::string& deed) {
  Operation op = operation("open");
  run.at("open()");
  try {
    return std::make_unique<Handle>(run.plugin(), run.options(iface), op);
  } catch (const Error& error) {
    if (error.code() == Code::kNotFound || error.code() == Code::kUnsupported)
      run.skip("it cannot " + deed + " here: " + error.what());
    run.stop(std::string("open() fails: ") + error.what());
  }
}

}  // namespace hyperhost::check
