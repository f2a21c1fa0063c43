// SPDX-License-Identifier: Apache-2.0
// An object being written in parts: each part is one request from the caller's own memory, as many
// at once as the plan allows; the object appears with commit(). What fits into one part goes in one
// request. An upload that a killed run left is taken up: parts that the server has are not sent
// again. Writes may come from any threads at once; everything else from one at a time.
#ifndef HYPERHOST_OBJECT_PART_SINK_HPP
#define HYPERHOST_OBJECT_PART_SINK_HPP

#include <atomic>
#include <hyper/sink.hpp>
#include <memory>
#include <mutex>
#include <optional>

#include "plugins/storage/object/retry.hpp"
#include "plugins/storage/object/service.hpp"
#include "plugins/storage/object/upload_record.hpp"

namespace hyper::object {

class PartSink final : public Sink {
 public:
  /// left: what an earlier run left of this object's upload. existing: the object is there already,
  /// and nothing is sent: commit() succeeds if it is this very one, else it is HYPER_EXISTS.
  PartSink(std::shared_ptr<Service> service, PutSpec spec, RetryPolicy policy, unsigned parallel,
           std::optional<UploadRecord> left, uint64_t presign_seconds,
           std::optional<ObjectInfo> existing = std::nullopt);
  PartSink(const PartSink&) = delete;
  PartSink& operator=(const PartSink&) = delete;
  ~PartSink() override;
  void close(Op op) override;

  /// Looks at what `left` names: which parts the server has of it.
  void take_up(Op op);

  SinkTraits traits() const override;
  void write_at(Op op, uint64_t offset, const void* buf, uint64_t len) override;
  std::string commit(Op op, uint64_t length) override;

 private:
  void begin(Op op);
  ObjectInfo finish(Op op, uint64_t length);
  ObjectInfo put_whole(Op op, std::string_view bytes);
  void check_parts(uint64_t length) const;
  bool made_of_parts(Op op, const ObjectInfo& there, uint64_t length);
  ObjectInfo adopt(Op op, uint64_t length);
  bool put_zeros(Op op, const std::string& key, std::string_view zeros);
  std::optional<Part> copy_zeros(Op op, uint64_t index, std::string_view zeros);
  void settle(Op op);
  void abandon(Op op) noexcept;
  std::string shown() const { return service_->location(spec_.key); }

  const std::shared_ptr<Service> service_;
  PutSpec spec_;
  const RetryPolicy policy_;
  const unsigned parallel_;
  const uint64_t presign_seconds_;
  const std::optional<ObjectInfo> existing_;

  std::mutex begin_mutex_;
  std::atomic<bool> begun_{false};
  std::optional<Error> refused_;  // why begin() failed
  std::optional<UploadRecord> record_;
  nlohmann::json upload_;
  Parts there_;                       // what an earlier run sent; constant once begun_
  std::optional<std::string> whole_;  // all of a small object
  bool committed_ = false;

  std::mutex zeros_mutex_;     // of the next four
  std::optional<Part> zeros_;  // what the object of zeros holds, once it is there
  bool zeros_made_ = false;    // it may be there
  bool no_copies_ = false;     // the store does not copy
  uint64_t zero_parts_ = 0;

  std::mutex mutex_;  // of what follows
  Parts parts_;
  uint64_t kept_parts_ = 0, kept_bytes_ = 0;
};

}  // namespace hyper::object

#endif
