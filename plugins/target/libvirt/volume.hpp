// SPDX-License-Identifier: Apache-2.0
// A disk as a volume of a storage pool: written once from front to end, and read back. A volume is
// named "POOL/NAME". One thread at a time.
#ifndef HYPERHOST_LIBVIRT_TARGET_VOLUME_HPP
#define HYPERHOST_LIBVIRT_TARGET_VOLUME_HPP

#include <hyper/sink.hpp>
#include <string>

#include "plugins/target/libvirt/connection.hpp"

namespace hyperhost::libvirt_target {

inline constexpr const char* kVolumeEntry = "unfinished volume";  ///< kind of a journal entry

struct VolumeName {
  std::string pool, name;
  std::string ref() const { return pool + "/" + name; }
};
/// Throws hyper::Error (HYPER_CONFIG) for a text that names none.
VolumeName volume_name(const std::string& ref);
/// Null if it is not there.
Volume find_volume(virConnect* connection, const VolumeName& of);
/// What is not there is as good.
void delete_volume(virConnect* connection, const VolumeName& of);

/// What makes one: an entry of the journal names it until commit().
struct NewVolume {
  VolumeName at;
  std::string where, mark;  ///< of the entry
  uint64_t length = 0;
};

class VolumeSink final : public hyper::Sink {
 public:
  /// Throws hyper::Error: HYPER_EXISTS where there is one of that name.
  VolumeSink(hyper::Op op, virConnect* connection, NewVolume volume);
  hyper::SinkTraits traits() const override;
  void write_at(hyper::Op op, uint64_t offset, const void* buf, uint64_t len) override;
  std::string commit(hyper::Op op, uint64_t length) override;
  void close(hyper::Op op) override;

 private:
  void create();
  void settle(hyper::Op op);

  const Connection connection_;
  const NewVolume new_;
  Volume volume_;
  Stream stream_;
  uint64_t written_ = 0;
  uint64_t entry_ = 0;  ///< of the journal; 0 = none
  bool made_ = false;   ///< and not committed
};

/// The bytes of its file or device. Throws hyper::Error (HYPER_NOTFOUND).
std::unique_ptr<hyper::Source> open_volume(virConnect* connection, const VolumeName& of);

}  // namespace hyperhost::libvirt_target

#endif
