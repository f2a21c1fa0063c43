// SPDX-License-Identifier: Apache-2.0
#include "core/block/block_table.hpp"

#include <nlohmann/json.hpp>

namespace hyperhost {
namespace {

BlockTable& table_of(void* ctx) {
  return *static_cast<BlockTable*>(ctx);
}

}  // namespace

BlockTable::BlockTable(std::string id, std::shared_ptr<BlockDevice> device, const Operation& op,
                       BlockPlace place)
    : id_(std::move(id)),
      device_(std::move(device)),
      journal_(op.services().journal),
      cancel_(op.cancel().child()),
      place_(std::move(place)) {
  static_cast<void>(host_table());
}

void BlockTable::attach(int32_t how, const hyper::Emit& emit) {
  if (how == HYPER_ATTACH_NBD_TCP && !place_.listen)
    throw hyper::Error(HYPER_UNSUPPORTED, "the plan does not allow disks on a port of 127.0.0.1",
                       id_)
        .hint("guest: {allow_loopback_nbd: true} allows it");
  if (how != HYPER_ATTACH_NBD_UNIX && how != HYPER_ATTACH_NBD_TCP)
    throw hyper::Error(HYPER_UNSUPPORTED, "this host attaches disks over NBD only");
  const std::lock_guard lock(mutex_);
  if (server_) throw hyper::Error(HYPER_BUSY, "the disk is attached already", id_);
  try {
    how == HYPER_ATTACH_NBD_TCP ? attach_tcp(emit) : attach_unix(emit);
  } catch (const Error& failure) {
    throw hyper::Error(static_cast<hyper_st>(failure.code()), failure.diagnostic().summary,
                       failure.diagnostic().detail);
  }
}

// A plugin that cannot take the answer has nothing attached.
void BlockTable::attach_unix(const hyper::Emit& emit) {
  auto socket = NbdSocket::anywhere(journal_, place_.user);
  auto server = std::make_unique<NbdServer>(socket->take(),
                                            std::vector<NbdExport>{{"", id_, device_}}, cancel_);
  emit(nlohmann::json{{"uri", socket->uri("")}, {"socket", socket->path().string()}, {"export", ""}}
           .dump());
  socket_ = std::move(socket);
  server_ = std::move(server);
}

/// Anybody who reaches the port is served, so that there is one client at a time.
void BlockTable::attach_tcp(const hyper::Emit& emit) {
  uint16_t port = 0;
  Fd listener = place_.listen(port);
  auto server = std::make_unique<NbdServer>(
      std::move(listener), std::vector<NbdExport>{{"", id_, device_, false}}, cancel_);
  emit(nlohmann::json{{"uri", loopback_uri(port, "")}, {"host", "127.0.0.1"}, {"port", port}}
           .dump());
  server_ = std::move(server);
}

void BlockTable::detach() {
  const std::lock_guard lock(mutex_);
  server_.reset();
  socket_.reset();
}

hyper_block BlockTable::table() {
  hyper_block out{};
  out.size = sizeof out;
  out.flags = HYPER_BLOCK_EXTENTS | HYPER_BLOCK_ATTACH;
  if (device_->writable()) out.flags |= HYPER_BLOCK_WRITE;
  out.ctx = this;
  out.id = id_.c_str();
  out.length = device_->length();
  out.block_min = 1;
  out.block_pref = 64 << 10;
  out.max_parallel = 64;
  out.read_at = [](void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, void* buffer,
                   uint64_t length) noexcept {
    return hyper::detail::guard(op, flags, 0, [&] {
      table_of(ctx).device_->read_at(hyper::Op(op), offset, buffer, length);
    });
  };
  out.write_at = [](void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, const void* bytes,
                    uint64_t length) noexcept {
    return hyper::detail::guard(op, flags, 0, [&] {
      table_of(ctx).device_->write_at(hyper::Op(op), offset, bytes, length);
    });
  };
  out.zero_at = [](void* ctx, hyper_op* op, uint32_t flags, uint64_t offset,
                   uint64_t length) noexcept {
    return hyper::detail::guard(
        op, flags, 0, [&] { table_of(ctx).device_->zero_at(hyper::Op(op), offset, length); });
  };
  out.flush = [](void* ctx, hyper_op* op, uint32_t flags) noexcept {
    return hyper::detail::guard(op, flags, 0, [&] { table_of(ctx).device_->flush(hyper::Op(op)); });
  };
  out.extents = [](void* ctx, hyper_op* op, uint32_t flags, uint64_t offset, uint64_t length,
                   hyper_emit_extent emit, void* arg) noexcept {
    return hyper::detail::guard(op, flags, 0, [&] {
      table_of(ctx).device_->extents(
          hyper::Op(op), offset, length,
          [&](const hyper_extent& extent) { hyper::check(emit(arg, &extent)); });
    });
  };
  out.attach = [](void* ctx, hyper_op* op, uint32_t flags, int32_t how, hyper_emit emit,
                  void* arg) noexcept {
    return hyper::detail::guard(op, flags, 0,
                                [&] { table_of(ctx).attach(how, hyper::Emit(emit, arg)); });
  };
  out.detach = [](void* ctx, hyper_op* op, uint32_t flags) noexcept {
    return hyper::detail::guard(op, flags, 0, [&] { table_of(ctx).detach(); });
  };
  out.get_ext = [](void*, const char*, void**) noexcept -> const void* { return nullptr; };
  return out;
}

}  // namespace hyperhost
