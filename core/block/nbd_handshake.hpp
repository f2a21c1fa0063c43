// SPDX-License-Identifier: Apache-2.0
// The first part of an NBD connection: the client lists exports, agrees on replies and contexts,
// and chooses an export. One thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/block/block_device.hpp"
#include "core/block/nbd_stream.hpp"

namespace hyperhost {

struct NbdExport {
  std::string name;         ///< "" = the default one; at most 255 bytes
  std::string description;  ///< for people; may be empty
  std::shared_ptr<BlockDevice> disk;
  bool shared = true;  ///< clients may open several connections
};

struct NbdAgreement {
  const NbdExport* chosen = nullptr;
  bool structured = false;  ///< replies
  bool allocation = false;  ///< the client may ask for base:allocation
};

class NbdHandshake {
 public:
  /// Both outlive it.
  NbdHandshake(NbdStream& stream, const std::vector<NbdExport>& exports)
      : stream_(stream), exports_(exports) {}
  /// Throws NbdEnd where no export was chosen.
  NbdAgreement run();

 private:
  void option(uint32_t number, const std::string& data);
  void list(const std::string& data);
  void info(uint32_t number, const std::string& data);
  void meta_context(uint32_t number, const std::string& data);
  void export_name(const std::string& data);
  void reply(uint32_t option, uint32_t type, std::string_view data = {});
  void refuse(uint32_t option, uint32_t error, std::string_view why);
  const NbdExport* find(std::string_view name) const;
  uint16_t flags_of(const NbdExport& one) const;
  void choose(const NbdExport& one);

  NbdStream& stream_;
  const std::vector<NbdExport>& exports_;
  NbdAgreement agreed_;
  std::optional<std::string> context_of_;  ///< the export that base:allocation was asked for
  bool no_zeroes_ = false, done_ = false;
};

}  // namespace hyperhost
