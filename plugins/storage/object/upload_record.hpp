// SPDX-License-Identifier: Apache-2.0
// The journal's entry of an unfinished upload: written before the upload is begun, so that a run
// that is killed leaves a name by which the next one goes on or cleans up. Owned by its sink; one
// thread at a time.
#ifndef HYPERHOST_OBJECT_UPLOAD_RECORD_HPP
#define HYPERHOST_OBJECT_UPLOAD_RECORD_HPP

#include <hyper/op.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "plugins/storage/object/service.hpp"

namespace hyper::object {

class UploadRecord {
 public:
  /// Writes a new entry.
  UploadRecord(Op op, const Service& service, const PutSpec& spec, nlohmann::json upload);

  /// The entry that a run which is no more left for this object; nothing where there is none.
  /// Throws HYPER_BUSY where a run that lives is at it.
  static std::optional<UploadRecord> left_behind(Op op, const Service& service,
                                                 const std::string& key);
  /// From an entry's JSON, as listed. Throws HYPER_CONFIG where it is none of ours.
  explicit UploadRecord(const std::string& entry_json);

  UploadRecord(UploadRecord&& other) noexcept;
  UploadRecord& operator=(UploadRecord&&) = delete;
  ~UploadRecord();

  const std::string& where() const { return where_; }
  const std::string& key() const { return key_; }
  uint64_t part_size() const { return part_size_; }
  const nlohmann::json& upload() const { return upload_; }
  const std::string& began() const { return began_; }

  /// The upload's name as begin() returned it.
  void set_upload(Op op, nlohmann::json upload);
  /// Nothing of it is left to undo.
  void close(Op op);

 private:
  std::string text() const;

  std::string plugin_, where_, key_, began_, owner_;
  uint64_t part_size_ = 0;
  nlohmann::json upload_;
  uint64_t entry_ = 0;
  bool mine_ = false;  // counted among this process' own
};

}  // namespace hyper::object

#endif
