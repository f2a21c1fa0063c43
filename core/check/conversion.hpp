// SPDX-License-Identifier: Apache-2.0
// One conversion of known bytes for the cases of hyper.converter/1: the converter under test, a
// source and a sink that watch it, and what the result is compared with. One thread each.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/check/run.hpp"
#include "core/check/test_disks.hpp"

namespace hyperhost::check {

/// What plan() said of a target format.
struct Planned {
  std::string format, source;
  std::vector<std::string> sinks;
  bool digest = false;
};

/// From raw.
nlohmann::json conversion_request(const std::string& format, uint64_t size);

class Conversion {
 public:
  Conversion(Run& run, ConverterHandle& converter, const Planned& plan, Bytes guest)
      : run_(run), converter_(converter), plan_(plan), guest_(std::move(guest)) {}

  std::string access;  ///< how the source may be read: seek, stream, file
  SourceSetup source;
  SinkSetup sink;
  std::shared_ptr<CancelSource> cancel;
  uint64_t virtual_size = 0;  ///< 0 = what it is
  nlohmann::json checkpoint;  ///< of the request; null = none
  std::string state;          ///< the last one that it saved, as JSON
  Bytes durable;              ///< what of the sink was durable then
  Bytes begin_with;           ///< what is in the sink before the first write

  std::string name() const {
    return "convert() from raw (" + access + ") to " + plan_.format + " (" + sink.kind + ")";
  }
  /// Throws what it throws.
  nlohmann::json convert();
  /// Findings where the result is not the disk.
  void expect_right();

 private:
  void save(const std::string& json);
  std::string expected_digest();
  void compare();

  Run& run_;
  ConverterHandle& converter_;
  const Planned& plan_;
  const Bytes guest_;
  std::string image_;
  Bytes expected_;
  std::unique_ptr<TestSink> sink_;
};

/// An open converter and its plans; ends the case as skipped where it converts raw to nothing.
struct OpenedConverter {
  OpenedConverter(Run& run, std::size_t size, unsigned seed = 1);
  Conversion conversion(Run& run, const Planned& plan) const;
  Bytes guest;
  std::unique_ptr<ConverterHandle> converter;
  std::vector<Planned> planned;
};

}  // namespace hyperhost::check
