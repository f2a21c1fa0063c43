// SPDX-License-Identifier: Apache-2.0
#include "plugins/converter/qemu-img/nbd_source.hpp"

#include <algorithm>

namespace hyperhost::qemu_img {

NbdSource::NbdSource(hyper::Op op, std::unique_ptr<Listener> listener, const Tool& qemu_nbd,
                     const std::string& spec, const std::string& shown, uint64_t virtual_size)
    : server_(op, std::move(listener), qemu_nbd, spec, shown), length_(virtual_size) {
  idle_.push_back(server_.take_first());
  with_connection(op, [&](NbdConnection& connection) {
    if (connection.size() != virtual_size)
      throw hyper::Error(HYPER_IO, "qemu-nbd serves " + std::to_string(connection.size()) +
                                       " bytes of " + shown + ", which has " +
                                       std::to_string(virtual_size));
  });
}

hyper::SourceTraits NbdSource::traits() const {
  hyper::SourceTraits traits;
  traits.flags = HYPER_SOURCE_SEEK | HYPER_SOURCE_EXTENTS;
  traits.length = length_;
  traits.max_parallel = 4;
  traits.format = "raw";
  return traits;
}

template <class F>
void NbdSource::with_connection(hyper::Op op, F&& f) {
  std::unique_ptr<NbdConnection> connection;
  {
    const std::scoped_lock lock(mutex_);
    if (!idle_.empty()) {
      connection = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (!connection) connection = std::make_unique<NbdConnection>(op, server_.socket());
  f(*connection);
  const std::scoped_lock lock(mutex_);
  idle_.push_back(std::move(connection));
}

void NbdSource::read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) {
  with_connection(op, [&](NbdConnection& nbd) { nbd.read(op, offset, buf, len); });
}

void NbdSource::extents(hyper::Op op, uint64_t offset, uint64_t len,
                        const hyper::EmitExtent& emit) {
  if (offset > length_ || len > length_ - offset)
    throw hyper::Error(HYPER_FAIL, "extents beyond the end of the source");
  const uint64_t end = offset + len;
  with_connection(op, [&](NbdConnection& nbd) {
    while (offset < end) {
      nbd.extents(op, offset, end - offset, [&](uint64_t length, uint32_t flags) {
        const uint64_t now = std::min(length, end - offset);
        emit(offset, now, flags);
        offset += now;
      });
    }
  });
}

}  // namespace hyperhost::qemu_img
