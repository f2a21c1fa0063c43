// SPDX-License-Identifier: Apache-2.0
// The plugins' tables as C++ objects: calls that throw Error with what the plugin reported, JSON
// that is parsed and bounded, and lifetimes by destructor. A handle belongs to one thread at a
// time unless its plugin and table say otherwise.
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

/// A source and what must outlive it. Closed by the destructor.
class SourceHandle {
 public:
  SourceHandle() { table_.size = sizeof table_; }
  ~SourceHandle();
  SourceHandle(const SourceHandle&) = delete;
  SourceHandle& operator=(const SourceHandle&) = delete;

  hyper_source* out() { return &table_; }
  /// Passes an opener's status on; after a failure there is nothing to close, whatever it wrote.
  /// What is opened is closed under the operation's name.
  hyper_st opened(const hyper_op* op, hyper_st status);
  const hyper_source& table() const { return table_; }
  bool can(uint32_t flags) const { return (table_.flags & flags) == flags; }
  uint64_t length() const { return table_.length; }
  std::string format() const { return hyper::SourceRef(&table_).format(); }

  void read_at(Operation& op, uint64_t offset, void* buffer, uint64_t length) const;
  /// {"bytes", "checksum", "verified"} as far as the opener gives them.
  nlohmann::json finish(Operation& op) const;
  /// Checks what an opener filled in: slots that its flags promise, sane limits.
  void validate(const std::string& what) const;
  /// From now on each call holds the plugin's lock, where the plugin takes one call at a time.
  /// reads_from: the source that this one reads, or null.
  void serialize(const Plugin& plugin, const SourceHandle* reads_from = nullptr);
  /// Null where calls are not serialized.
  const std::shared_ptr<SerialGate>& gate() const { return gate_; }

  std::shared_ptr<void> keep;  ///< what the source borrows (another source, a connection)

 private:
  friend class SinkHandle;  // what it reopens has its gate
  Opener opener_;
  hyper_source table_{};
  std::shared_ptr<SerialGate> gate_;
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
  /// {"location", "bytes", "checksum"?}. The object has its name afterwards.
  nlohmann::json commit(Operation& op, uint64_t length);
  /// Leaves what was written where it is when this goes without a commit; the token by which
  /// StorageHandle::put finds it again. RESUME only.
  nlohmann::json keep(Operation& op);
  /// Removes it again then.
  void drop(Operation& op);
  void validate(const std::string& what) const;
  /// As those of SourceHandle.
  void serialize();
  const std::shared_ptr<SerialGate>& gate() const { return gate_; }
  /// on_written: each write that the sink has acknowledged, its bytes; any thread. Before the
  /// sink is used; for sinks that are written through table().write_at.
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
  /// Findings are left in op.diagnostics(); throws on errors.
  void preflight(Operation& op, const nlohmann::json& request);
  std::unique_ptr<ProviderVmHandle> open_vm(Operation& op, const nlohmann::json& request);
  /// False: the journal entry is of another place, or this plugin undoes nothing.
  bool undo(Operation& op, const nlohmann::json& entry);

 private:
  friend class ProviderVmHandle;
  Plugin& plugin_;
  const hyper_provider* table_;
  const Opener opener_;
  void* connection_ = nullptr;
};

/// Must be close()d by its owner; the destructor closes as failed. Sources first.
class ProviderVmHandle {
 public:
  /// opened_by: gives its name and services to a close by the destructor.
  ProviderVmHandle(ProviderHandle& provider, const Operation& opened_by, void* vm)
      : provider_(provider), opener_(opened_by), vm_(vm) {}
  ~ProviderVmHandle();
  ProviderVmHandle(const ProviderVmHandle&) = delete;
  ProviderVmHandle& operator=(const ProviderVmHandle&) = delete;

  std::unique_ptr<SourceHandle> open_disk(Operation& op, const std::string& disk_id,
                                          uint32_t flags);
  /// With an operation that nobody cancels: undoing must not be interrupted.
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
  /// One object for each key that begins with `prefix`, as stat() gives it.
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
  /// Null JSON if the content is no image this plugin reads.
  nlohmann::json probe(Operation& op, const SourceHandle& source) const;
  /// Guest-visible bytes. Keeps `source` alive.
  std::unique_ptr<SourceHandle> open(Operation& op, std::shared_ptr<SourceHandle> source,
                                     const std::string& format) const;

 private:
  Plugin& plugin_;
  const hyper_image* table_;
  std::shared_ptr<const Options> options_;
};

}  // namespace hyperhost
