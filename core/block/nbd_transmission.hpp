// SPDX-License-Identifier: Apache-2.0
// The second part of an NBD connection: the client's requests about the export that it chose. One
// request at a time, in order, with one buffer of 1 MiB. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/block/nbd_handshake.hpp"
#include "core/block/nbd_stream.hpp"

namespace hyperhost {

class NbdTransmission {
 public:
  /// stream outlives it. Requests are cancelled by `cancel`.
  NbdTransmission(NbdStream& stream, const NbdAgreement& agreed, std::string name,
                  std::shared_ptr<CancelSource> cancel);
  /// Until the client leaves in good order. Throws NbdEnd in all other cases.
  void run();

 private:
  struct Request {
    uint16_t flags = 0, type = 0;
    uint64_t handle = 0, offset = 0;
    uint32_t length = 0;
  };
  void serve(const Request& request);
  void read(const Request& request);
  void write(const Request& request);
  void write_zeroes(const Request& request);
  void block_status(const Request& request);
  /// What is wrong with a request, as an error of the protocol; 0 = nothing.
  uint32_t fault(const Request& request) const;
  /// Calls the disk; returns the error of the protocol, 0 for success.
  uint32_t attempt(const std::function<void(hyper::Op)>& call);
  void done(const Request& request, uint32_t error);
  void chunk(const Request& request, uint16_t flags, uint16_t type, uint64_t size,
             std::string_view head);

  NbdStream& stream_;
  const NbdAgreement agreed_;
  BlockDevice& disk_;
  const std::string name_;
  const std::shared_ptr<CancelSource> cancel_;
  std::vector<unsigned char> buffer_;
  bool reported_ = false;  ///< a failure of the disk was logged
};

}  // namespace hyperhost
