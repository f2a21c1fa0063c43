// SPDX-License-Identifier: Apache-2.0
#include "core/plugin/isolation/call.hpp"

#include <algorithm>
#include <chrono>
#include <hyper/op.hpp>
#include <iterator>

namespace hyperhost::isolation {

hyper_st report_error(hyper_op* op, const Error& error) {
  const hyper_diag diag = diag_of(error.diagnostic());
  return hyper::detail::host_slot()->report(op, &diag);
}

namespace {

constexpr std::pair<Verb, const char*> kFunctions[] = {
    {Verb::kStart, "start"},
    {Verb::kStop, "stop"},
    {Verb::kValidate, "validate"},
    {Verb::kProviderConnect, "connect"},
    {Verb::kStorageConnect, "connect"},
    {Verb::kProviderDisconnect, "disconnect"},
    {Verb::kStorageDisconnect, "disconnect"},
    {Verb::kListVms, "list_vms"},
    {Verb::kDescribeVm, "describe_vm"},
    {Verb::kPreflight, "preflight"},
    {Verb::kOpenVm, "open_vm"},
    {Verb::kOpenDisk, "open_disk"},
    {Verb::kCloseVm, "close_vm"},
    {Verb::kProviderUndo, "undo"},
    {Verb::kStorageUndo, "undo"},
    {Verb::kConverterOpen, "open"},
    {Verb::kImageOpen, "open"},
    {Verb::kConverterClose, "close"},
    {Verb::kSourceClose, "close"},
    {Verb::kSinkClose, "close"},
    {Verb::kPlan, "plan"},
    {Verb::kConvert, "convert"},
    {Verb::kProbe, "probe"},
    {Verb::kInfo, "info"},
    {Verb::kPut, "put"},
    {Verb::kGet, "get"},
    {Verb::kStat, "stat"},
    {Verb::kList, "list"},
    {Verb::kRemove, "remove"},
    {Verb::kGuestOpen, "open"},
    {Verb::kBootOpen, "open"},
    {Verb::kGuestClose, "close"},
    {Verb::kBootClose, "close"},
    {Verb::kGuestPlan, "plan"},
    {Verb::kBootPlan, "plan"},
    {Verb::kInspect, "inspect"},
    {Verb::kPrepare, "prepare"},
    {Verb::kBootCheck, "check"},
    {Verb::kTargetConnect, "connect"},
    {Verb::kTargetDisconnect, "disconnect"},
    {Verb::kTargetInfo, "info"},
    {Verb::kTargetPlan, "plan"},
    {Verb::kPutDisk, "put_disk"},
    {Verb::kImportDisk, "import_disk"},
    {Verb::kGetDisk, "get_disk"},
    {Verb::kDefine, "define"},
    {Verb::kTargetStart, "start"},
    {Verb::kTargetState, "state"},
    {Verb::kTargetStop, "stop"},
    {Verb::kTargetRemove, "remove"},
    {Verb::kTargetUndo, "undo"},
    {Verb::kReadAt, "read_at"},
    {Verb::kNext, "next"},
    {Verb::kExtents, "extents"},
    {Verb::kLocate, "locate"},
    {Verb::kSibling, "sibling"},
    {Verb::kFinish, "finish"},
    {Verb::kWriteAt, "write_at"},
    {Verb::kZeroAt, "zero_at"},
    {Verb::kSync, "sync"},
    {Verb::kReopen, "reopen"},
    {Verb::kCommit, "commit"},
    {Verb::kKeep, "keep"},
};

/// The function of the ABI behind a verb; null for a service of the host, where no plugin crashes.
const char* function_of(Verb verb) {
  const auto* found = std::find_if(std::begin(kFunctions), std::end(kFunctions),
                                   [&](const auto& one) { return one.first == verb; });
  return found == std::end(kFunctions) ? nullptr : found->second;
}

/// "read_at() of 65536 bytes at 4096": what a worker was asked when it died.
std::string call_text(const Frame& request) {
  const char* function = function_of(request.verb);
  if (function == nullptr) return {};
  std::string text = std::string(function) + "()";
  switch (request.verb) {
    case Verb::kReadAt:
    case Verb::kExtents:
    case Verb::kWriteAt:
    case Verb::kZeroAt:
      return text + " of " + std::to_string(request.b) + " bytes at " + std::to_string(request.a);
    default:
      return text;
  }
}

/// in: the caller's own call that got no answer. "": the worker was gone before it, perhaps during
/// another thread's call.
Error gone_error(Peer& peer, std::string in = {}) {
  peer.set_gone();
  if (const auto other = peer.unanswered(); in.empty() && other) in = call_text(*other);
  Diagnostic diagnostic;
  diagnostic.retryable = true;
  diagnostic.summary = "the plugin's process is gone";
  if (peer.why_gone) {
    const auto [code, text] = peer.why_gone();
    const std::size_t end = text.find('\n');
    diagnostic.code = static_cast<Code>(code);
    diagnostic.summary = text.substr(0, end) + (in.empty() ? "" : ", in " + in);
    if (end != std::string::npos) diagnostic.detail = text.substr(end + 1);
  }
  return Error(diagnostic);
}

std::shared_ptr<Peer::Outgoing> outgoing(Peer& peer) {
  try {
    return std::make_shared<Peer::Outgoing>(peer);
  } catch (const PeerGone&) {
    throw gone_error(peer);
  }
}

}  // namespace

uint64_t number_of(Peer& peer, hyper_op* op) {
  if (op == nullptr) return 0;
  if (!peer.is_host()) return static_cast<WorkerOperation*>(op)->id();
  return peer.enter(static_cast<Operation*>(op));
}

bool WorkerOperation::progress_is_due(uint64_t done, uint64_t total) {
  const int64_t now = std::chrono::duration_cast<std::chrono::milliseconds>(
                          std::chrono::steady_clock::now().time_since_epoch())
                          .count();
  int64_t before = reported_at_;
  if (total != 0 && done >= total) return true;
  return now - before >= 50 && reported_at_.compare_exchange_strong(before, now);
}

Call::Call(Peer& peer, Verb verb, uint64_t object, hyper_op* op)
    : peer_(peer), op_(op), out_(outgoing(peer)), arguments_(out_->lane()) {
  request.verb = verb;
  request.object = object;
  request.op = number_of(peer, op);
}

Call::~Call() {
  if (peer_.is_host() && op_ != nullptr) peer_.leave(request.op, static_cast<Operation*>(op_));
  if (emit_) peer_.take_back(request.emit, emit_);
}

void Call::emit_to(hyper_emit emit, void* arg) {
  if (emit == nullptr) return;
  emit_ = std::make_shared<OfferedEmit>(OfferedEmit{emit, arg});
  request.emit = peer_.add(emit_);
}

bool Call::name_to_read(const void* data, uint64_t length) {
  try {
    return peer_.name_to_read(request, data, length);
  } catch (const PeerGone&) {
    throw gone_error(peer_);
  }
}

hyper_st Call::go() {
  request.payload = arguments_.size();
  try {
    answer =
        peer_.call(out_->lane(), request, peer_.is_host() ? static_cast<Operation*>(op_) : nullptr);
  } catch (const PeerGone&) {
    throw gone_error(peer_, call_text(request));
  }
  return answer.status;
}

hyper_st EmitBack::emit(void* self, const char* json, uint64_t len) noexcept {
  return guarded(nullptr, [&]() -> hyper_st {
    auto& back = *static_cast<EmitBack*>(self);
    if (back.id == 0) return HYPER_OK;
    Call call(back.peer, Verb::kEmit, back.id, nullptr);
    call.arguments().bytes(json, len);
    return call.go();
  });
}

}  // namespace hyperhost::isolation
