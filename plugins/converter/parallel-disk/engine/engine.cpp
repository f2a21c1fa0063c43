// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "codec/sha256.hpp"
#include "engine/bytes.hpp"
#include "engine/decode.hpp"
#include "engine/leaf_pairs.hpp"

namespace hyper::disk {
namespace {

constexpr unsigned kSpareWorkers = 2;

/// Thrown in a worker when another one has failed.
struct Abandoned {};

class Conversion {
 public:
  Conversion(Op op, Budget& budget, Reader& reader, Writer& writer, Output& output, bool digest,
             const Progressing& progressing)
      : op_(op),
        budget_(budget),
        reader_(reader),
        writer_(writer),
        output_(output),
        batch_bytes_(writer.batch_bytes()),
        checkpoints_(progressing.checkpoints),
        leaf_pairs_(op, budget) {
    reader.set_batch_bytes(batch_bytes_);
    if (digest) digest_.emplace(writer.virtual_size());
    if (progressing.from) go_to(*progressing.from);
  }

  Outcome run() {
    const Budget::Memory memory(budget_, op_, budget_.threads() + kSpareWorkers,
                                Workspace::bytes(batch_bytes_));
    op_.progress(done_, reader_.virtual_size(), "converting");
    {
      std::vector<std::jthread> workers;
      for (unsigned i = 0; i < memory.count(); ++i) workers.emplace_back([this] { work(); });
    }
    if (failure_) std::rethrow_exception(failure_);
    Outcome outcome;
    outcome.length = writer_.finish(op_);
    output_.finish(op_, outcome.length);
    if (digest_) outcome.digest = digest_->text();
    outcome.resumed_bytes = resumed_;
    return outcome;
  }

 private:
  void go_to(const Position& position) {
    StateReader state(position.writer);
    if (position.guest % batch_bytes_ != 0 || position.guest > reader_.virtual_size() ||
        !writer_.restore(position.guest, state) || (digest_ && !digest_->restore(position.digest)))
      throw Error(HYPER_UNSUPPORTED, "the state of the interrupted conversion does not fit");
    resumed_ = position.guest;
    if (reader_.seek(position.guest))
      done_ = position.guest;
    else
      pass_over_ = position.guest;  // a stream: read again, but not written
  }

  /// REQUIRES: it is the batch's turn, and it is not placed yet.
  void checkpoint(const Batch& batch) {
    if (batch.length == 0 || !checkpoints_.due(op_, batch.number)) return;
    Position position;
    position.guest = batch.guest;
    StateWriter state;
    if (!writer_.save(batch.guest, state, position.length)) return;
    position.writer = state.bytes();
    if (digest_) {
      const std::lock_guard lock(digest_mutex_);
      if (!digest_->save(batch.guest / kDigestBlock, position.digest)) return;
    }
    checkpoints_.begin(batch.number, std::move(position));
  }

  void work() noexcept {
    try {
      Workspace space(batch_bytes_);
      const std::unique_ptr<Writer::Tool> tool = writer_.make_tool();
      LeafPairs::Worker hashing(leaf_pairs_);
      while (take(space)) process(space, tool.get(), hashing);
    } catch (const Abandoned&) {
    } catch (...) {
      fail(std::current_exception());
    }
  }

  bool take(Workspace& space) {
    const std::lock_guard lock(cursor_);
    if (failed_) throw Abandoned();
    try {
      op_.check_cancelled();
      do {
        if (!reader_.next(op_, space)) return false;
        const Batch& batch = space.batch;
        if (batch.length == 0 || batch.guest >= pass_over_) break;
        done(batch.guest + batch.length - batch.zero_from);
        op_.check_cancelled();
      } while (true);
    } catch (...) {  // noted before another worker asks a reader that has failed
      fail(std::current_exception());
      throw Abandoned();
    }
    space.batch.number = batches_++;
    return true;
  }

  void process(Workspace& space, Writer::Tool* tool, LeafPairs::Worker& hashing) {
    const Batch& batch = space.batch;
    space.has_plain = false;
    space.writes.clear();
    space.packings.clear();
    if (batch.length != 0) {
      reader_.load(op_, space);
      const Budget::Core core(budget_, op_);
      if (digest_ || writer_.needs_plain(batch))
        reader_.account(decode(space, batch_bytes_, reader_.virtual_size()));
      writer_.prepare(space, tool);
    }
    if (digest_) hash(space, hashing);
    wait_for_turn(batch.number);
    checkpoint(batch);
    writer_.place(op_, space);
    uint64_t bytes = 0;
    for (const Write& write : space.writes) bytes += write.length;
    checkpoints_.placed(bytes);
    if (output_.in_order()) store(space);
    end_turn();
    if (!output_.in_order()) store(space);
    checkpoints_.stored(op_, batch.number);
    if (digest_) hashing.comes_again();
    done(batch.guest + batch.length - batch.zero_from);
  }

  void store(const Workspace& space) {
    for (const Write& write : space.writes)
      output_.write(op_, write.offset, write.data, write.length);
  }

  void hash(const Workspace& space, LeafPairs::Worker& hashing) {
    const Batch& batch = space.batch;
    std::vector<Leaf> leaves;
    for (uint64_t at = 0; at < batch.length; at += kDigestBlock) {
      // A grown disk's last block is as long as the image has it; plain is zero there.
      const uint64_t length =
          std::min({kDigestBlock, batch_bytes_ - at, digest_->size() - batch.guest - at});
      bool zero = true;
      for (uint64_t i = at / kGranule; zero && i < div_ceil(at + length, kGranule); ++i)
        zero = space.zero[i];
      if (zero) continue;  // as the tree assumes
      leaves.push_back({(batch.guest + at) / kDigestBlock, space.plain.data() + at, length, {}});
    }
    hashing.hash(leaves);
    const std::lock_guard lock(digest_mutex_);
    for (const Leaf& leaf : leaves) digest_->add(leaf.index, leaf.hash);
  }

  void wait_for_turn(uint64_t number) {
    std::unique_lock lock(turn_mutex_);
    while (!turn_changed_.wait_for(lock, std::chrono::milliseconds(50),
                                   [&] { return failed_ || turn_ == number; }))
      op_.check_cancelled();
    if (failed_) throw Abandoned();
  }

  void end_turn() {
    const std::lock_guard lock(turn_mutex_);
    ++turn_;
    turn_changed_.notify_all();
  }

  void done(uint64_t guest_bytes) {
    const std::lock_guard lock(progress_mutex_);
    done_ += guest_bytes;
    op_.progress(std::min(done_, reader_.virtual_size()), reader_.virtual_size(), "converting");
  }

  void fail(std::exception_ptr what) noexcept {
    const std::lock_guard lock(turn_mutex_);
    if (!failure_) failure_ = std::move(what);
    failed_ = true;
    turn_changed_.notify_all();
    checkpoints_.abandon();
  }

  Op op_;
  Budget& budget_;
  Reader& reader_;
  Writer& writer_;
  Output& output_;
  const uint64_t batch_bytes_;
  Checkpoints checkpoints_;
  uint64_t resumed_ = 0, pass_over_ = 0;
  LeafPairs leaf_pairs_;
  std::optional<Digest> digest_;
  std::mutex digest_mutex_;

  std::mutex cursor_;  // reader_.next(), batches_
  uint64_t batches_ = 0;

  std::mutex turn_mutex_;  // turn_, failure_
  std::condition_variable turn_changed_;
  uint64_t turn_ = 0;
  std::exception_ptr failure_;
  std::atomic<bool> failed_{false};

  std::mutex progress_mutex_;
  uint64_t done_ = 0;
};

}  // namespace

Outcome run_conversion(Op op, Budget& budget, Reader& reader, Writer& writer, Output& output,
                       bool digest, const Progressing& progressing) {
  return Conversion(op, budget, reader, writer, output, digest, progressing).run();
}

}  // namespace hyper::disk
