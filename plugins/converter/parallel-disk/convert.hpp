// SPDX-License-Identifier: Apache-2.0
// The converter interface of the plugin: what a request asks for, whether it can be done, and
// doing it. One instance for all disks of a run; any thread.
#pragma once

#include <memory>
#include <string>

#include <hyper/interfaces.hpp>

#include "engine/budget.hpp"

namespace hyper::disk {

class ParallelDisk : public ConverterInstance {
 public:
  static std::unique_ptr<ParallelDisk> open(const Doc& config, Op op);
  std::string plan(Op op, const Doc& document) override;
  std::string convert(Op op, const Doc& document, SourceRef source, SinkRef sink) override;

 private:
  ParallelDisk(unsigned threads, unsigned busy, uint64_t memory_bytes, bool strict_deflate,
               bool allow_backing)
      : budget_(threads, busy, memory_bytes),
        strict_deflate_(strict_deflate),
        allow_backing_(allow_backing) {}

  Budget budget_;
  const bool strict_deflate_, allow_backing_;
};

}  // namespace hyper::disk
