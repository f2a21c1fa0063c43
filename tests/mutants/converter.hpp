// SPDX-License-Identifier: Apache-2.0
// From raw to raw, through a buffer, with states to continue from.
#pragma once

#include <algorithm>

#include "mutant.hpp"

namespace mutants {

class Converter final : public hyper::ConverterInstance {
 public:
  static std::unique_ptr<Converter> open(const hyper::Doc&, hyper::Op) {
    if (mutant("converter-leak-open")) forget(400);
    return std::make_unique<Converter>();
  }
  std::string plan(hyper::Op, const hyper::Doc& request) override {
    if (request.string("/source/format") != "raw" || request.string("/target/format") != "raw" ||
        request.string("/target/compression") != "none")
      throw hyper::Error(HYPER_UNSUPPORTED, "only raw to raw");
    return hyper::DocBuilder().set("/source", "seek").set("/sink", {"random"}).json();
  }
  std::string convert(hyper::Op op, const hyper::Doc& request, hyper::SourceRef source,
                      hyper::SinkRef sink) override {
    if (mutant("converter-leak-convert")) forget_descriptor();
    if (mutant("converter-temporary-file")) leave_temporary_file("scratch");
    const uint64_t length =
        mutant("converter-odd-end") ? source.length() / 4096 * 4096 : source.length();
    expect_size(request, source.length());
    uint64_t done = begin(request);
    const uint64_t interval = static_cast<uint64_t>(request.integer("/checkpoint/interval_bytes"));
    std::vector<char> own(mutant("converter-ignores-block-min") ? 100'000 : 65'536);
    static std::vector<char> shared(1u << 20);
    std::vector<char>& buffer = mutant("converter-shared-buffer") ? shared : own;
    const bool at_once = mutant("converter-ignores-block-max");
    if (at_once) own.resize(1u << 20);
    for (uint64_t saved = done; done < length;) {
      const uint64_t size = std::min<uint64_t>(own.size(), length - done);
      if (at_once)
        hyper::check(source.raw()->read_at(source.raw()->ctx, op.raw(), 0, done, own.data(), size));
      else
        source.read_at(op, done, buffer.data(), size);
      write(op, sink, done, buffer.data(), size);
      done += size;
      op.progress(done, length);
      if (interval == 0 || done - saved < interval) continue;
      save(op, sink, done);
      saved = done;
    }
    if (mutant("converter-finishes-source")) static_cast<void>(source.finish(op));
    hyper::DocBuilder answer;
    answer.set("/bytes_written", done);
    if (!mutant("converter-no-size")) answer.set("/virtual_size", source.length());
    return answer.json();
  }
  bool understands(const std::string&) override { return mutant("converter-understands-all"); }

 private:
  static void expect_size(const hyper::Doc& request, uint64_t length) {
    const auto expected = static_cast<uint64_t>(request.integer("/virtual_size"));
    if (expected == 0 || expected == length || mutant("converter-any-size")) return;
    if (mutant("converter-leak-failure")) forget_descriptor();
    throw hyper::Error(HYPER_CORRUPT, "the disk has another size");
  }
  static uint64_t begin(const hyper::Doc& request) {
    if (!request.has("/checkpoint/state")) return 0;
    if (request.string("/checkpoint/state/kind") != "mutant/1" && !mutant("converter-any-state"))
      throw hyper::Error(HYPER_UNSUPPORTED, "the state is not one of this converter");
    const uint64_t at = static_cast<uint64_t>(request.integer("/checkpoint/state/length"));
    return mutant("converter-resumes-late") ? at + 65'536 : at;
  }
  static void write(hyper::Op op, hyper::SinkRef sink, uint64_t at, const void* data,
                    uint64_t size) {
    if (mutant("converter-wrong-beyond-4-gib")) at &= 0xFFFFFFFF;
    const hyper_st status = sink.raw()->write_at(sink.raw()->ctx, op.raw(), 0, at, data, size);
    if (!mutant("converter-swallows-nospace")) hyper::check(status);
  }
  static void save(hyper::Op op, hyper::SinkRef sink, uint64_t done) {
    if (!mutant("converter-saves-unsynced")) sink.sync(op);
    const uint64_t length = mutant("converter-saves-too-much") ? done + 65'536 : done;
    hyper::Checkpoint::save(
        op, hyper::DocBuilder().set("/kind", "mutant/1").set("/length", length).doc());
  }
};

}  // namespace mutants
