// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share: the host that plugin code asks for its services, and the rule of
// what a parser may do with foreign bytes. libFuzzer (run.py: one target a program) or
// replay.cpp (all targets in one, each entry renamed by its build) calls a target on one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <hyper/op.hpp>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size);

namespace fuzz {

/// An operation of the small host. Sleeps return at once; memory is bounded by kMostMemory.
hyper::Op op();
constexpr uint64_t kMostMemory = 64u << 20;  ///< of one allocation by a plugin

/// Runs `parse`. hyper::Error is how plugin code refuses what it does not understand; every other
/// exception leaves this function, and the fuzzer reports it. Returns whether the input was
/// accepted.
template <class F>
bool accepts(F&& parse) {
  try {
    parse();
    return true;
  } catch (const hyper::Error&) {
    return false;
  } catch (const hyper::Reported&) {
    return false;
  }
}

/// Ends the process with a message: the parser broke a promise without crashing.
[[noreturn]] void fail(const std::string& what);

inline std::string_view text_of(const uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// The parts of `text` between lines that are exactly `line`.
std::vector<std::string> parts_of(std::string_view text, std::string_view line);

}  // namespace fuzz
