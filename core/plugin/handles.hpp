// SPDX-License-Identifier: Apache-2.0
// The plugins' tables as C++ objects. Calls throw Error with the plugin's report, JSON is parsed
// and bounded, and destructors end the objects. One thread at a time may use a handle, unless its
// plugin and table allow more.
#pragma once

#include <hyper/source.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "core/plugin/filter/serial.hpp"
#include "core/plugin/plugin.hpp"

namespace hyperhost {

/// A source and the objects that must outlive it. The destructor closes it.
class SourceHandle {
 public:
  SourceHandle() { table_.size = sizeof table_; }
  ~SourceHandle();
  SourceHandle(const SourceHandle&) = delete;
  SourceHandle& operator=(const SourceHandle&) = delete;

  hyper_source* out() { return &table_; }
  /// Call it with the status of the opener that filled out(); returns the status. After a failure
  /// the handle ignores what the opener wrote and closes nothing. After a success the close will
  /// run under the name of `op`.
  hyper_st opened(const hyper_op* op, hyper_st status);
  const hyper_source& table() const { return table_; }
  bool can(uint32_t flags) const { return (table_.flags & flags) == flags; }
  uint64_t length() const { return table_.length; }
  std::string format() const { return hyper::SourceRef(&table_).format(); }

  void read_at(Operation& op, uint64_t offset, void* buffer, uint64_t length) const;
  /// {"bytes", "checksum", "verified"}, each only if the opener emits it.
  nlohmann::json finish(Operation& op) const;
  /// Checks the table that an opener filled: the slots that its flags promise, valid limits.
  void validate(const std::string& what) const;
  /// Names the plugin in messages from now on. If it takes one call at a time, each call holds the
  /// plugin's lock. reads_from: the source that this one reads, or null.
  void serialize(const Plugin& plugin, const SourceHandle* reads_from = nullptr);
  /// Null if calls are not serialized.
  const std::shared_ptr<SerialGate>& gate() const { return gate_; }

  std::shared_ptr<void> keep;  ///< the objects that the source borrows (a source, a connection)

 private:
  friend class SinkHandle;  // a source that a sink reopens has the sink's gate
  Opener opener_;
  const Plugin* plugin_ = nullptr;  // null: a source of the core's own
  hyper_source table_{};
  std::shared_ptr<SerialGate> gate_;
};

/// A sink's commit succeeded, and its answer cannot be used. The object has its name; whether it
/// was there before is not known.
class UnusableAnswer final : public Error {
 public:
  using Error::Error;
};

class SinkHandle {
 public:
  explicit SinkHandle(const Plugin& plugin) : plugin_(plugin) { table_.size = sizeof table_; }
  ~SinkHandle();
  SinkHandle(const SinkHandle&) = delete;
  SinkHandle& operator=(const SinkHandle&) = delete;

  hyper_sink* out() { return &table_; }
  hyper_st opened(const hyper_op* op, hyper_st status);
  const hyper_sink& table() const { return table_; }
  bool can(uint32_t flags) const { return (table_.flags & flags) == flags; }
  std::string path() const;
  std::unique_ptr<SourceHandle> reopen(Operation& op, uint64_t length) const;
  /// {"location", "bytes", "checksum"?}. The object has its final name afterwards, also when this
  /// throws UnusableAnswer. After any other Error it has none.
  nlohmann::json commit(Operation& op, uint64_t length);
  /// RESUME only. From now on a close without a commit leaves the written data in place. Returns
  /// the token with which StorageHandle::put opens the data again.
  nlohmann::json keep(Operation& op);
  /// Reverses keep(): a close without a commit removes the data.
  void drop(Operation& op);
  void validate(const std::string& what) const;
  /// As in SourceHandle.
  void serialize();
  const std::shared_ptr<SerialGate>& gate() const { return gate_; }
  /// Calls on_written with the number of bytes of each write that the sink has acknowledged, on any
  /// thread. Call it before the sink is used. It sees only writes through table().write_at.
  void watch(std::function<void(uint64_t bytes)> on_written);

 private:
  const Plugin& plugin_;
  Opener opener_;
  hyper_sink table_{};
  std::shared_ptr<SerialGate> gate_;
};

class ProviderVmHandle;

class ProviderHandle {
 public:
  ProviderHandle(Plugin& plugin, const Options& options, Operation& op);
  ~ProviderHandle();
  ProviderHandle(const ProviderHandle&) = delete;
  ProviderHandle& operator=(const ProviderHandle&) = delete;

  const Plugin& plugin() const { return plugin_; }
  void list_vms(Operation& op, const std::string& pattern,
                const std::function<void(const nlohmann::json&)>& on_vm);
  nlohmann::json describe_vm(Operation& op, const std::string& vm);
  /// op.diagnostics() has the findings. Throws on an error.
  void preflight(Operation& op, const nlohmann::json& request);
  std::unique_ptr<ProviderVmHandle> open_vm(Operation& op, const nlohmann::json& request);
  /// False: the journal entry belongs to another place, or this plugin has no undo.
  bool undo(Operation& op, const nlohmann::json& entry);

 private:
  friend class ProviderVmHandle;
  Plugin& plugin_;
  const hyper_provider* table_;
  const Opener opener_;
  void* connection_ = nullptr;
};

/// The owner calls close(), after it has closed the VM's sources. Without a close(), the destructor
/// closes with the outcome HYPER_FAIL.
class ProviderVmHandle {
 public:
  /// A close by the destructor uses the name and services of opened_by.
  ProviderVmHandle(ProviderHandle& provider, const Operation& opened_by, void* vm)
      : provider_(provider), opener_(opened_by), vm_(vm) {}
  ~ProviderVmHandle();
  ProviderVmHandle(const ProviderVmHandle&) = delete;
  ProviderVmHandle& operator=(const ProviderVmHandle&) = delete;

  std::unique_ptr<SourceHandle> open_disk(Operation& op, const std::string& disk_id,
                                          uint32_t flags);
  /// op: one that is never cancelled, because an undo must not be interrupted.
  void close(Operation& op, hyper_st outcome);

 private:
  ProviderHandle& provider_;
  const Opener opener_;
  void* vm_;
};

class ConverterHandle {
 public:
  ConverterHandle(Plugin& plugin, const Options& options, Operation& op);
  ~ConverterHandle();
  ConverterHandle(const ConverterHandle&) = delete;
  ConverterHandle& operator=(const ConverterHandle&) = delete;

  const Plugin& plugin() const { return plugin_; }
  nlohmann::json plan(Operation& op, const nlohmann::json& request);
  nlohmann::json convert(Operation& op, const nlohmann::json& request, const SourceHandle& source,
                         const SinkHandle& sink);

 private:
  Plugin& plugin_;
  const hyper_converter* table_;
  const Opener opener_;
  void* self_ = nullptr;
  Options options_;
};

class StorageHandle {
 public:
  StorageHandle(Plugin& plugin, const Options& options, Operation& op);
  ~StorageHandle();
  StorageHandle(const StorageHandle&) = delete;
  StorageHandle& operator=(const StorageHandle&) = delete;

  const Plugin& plugin() const { return plugin_; }
  nlohmann::json info(Operation& op);
  std::unique_ptr<SinkHandle> put(Operation& op, const nlohmann::json& request);
  std::unique_ptr<SourceHandle> get(Operation& op, const std::string& key);
  /// Null JSON if there is no such object.
  nlohmann::json stat(Operation& op, const std::string& key);
  /// Calls on_object once for each key that begins with `prefix`, with an object as stat() returns.
  void list(Operation& op, const std::string& prefix,
            const std::function<void(const nlohmann::json&)>& on_object);
  void remove(Operation& op, const std::string& key);
  /// As ProviderHandle::undo.
  bool undo(Operation& op, const nlohmann::json& entry);

 private:
  Plugin& plugin_;
  const hyper_storage* table_;
  const Opener opener_;
  void* connection_ = nullptr;
};

/// The image-reader interface of a plugin; stateless.
class ImageReader {
 public:
  ImageReader(Plugin& plugin, Options options);
  const Plugin& plugin() const { return plugin_; }
  /// Null JSON if this plugin does not read such an image.
  nlohmann::json probe(Operation& op, const SourceHandle& source) const;
  /// Opens the image: a source of the guest-visible bytes. Keeps `source` alive.
  std::unique_ptr<SourceHandle> open(Operation& op, std::shared_ptr<SourceHandle> source,
                                     const std::string& format) const;

 private:
  Plugin& plugin_;
  const hyper_image* table_;
  std::shared_ptr<const Options> options_;
};

}  // namespace hyperhost
