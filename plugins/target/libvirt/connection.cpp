// SPDX-License-Identifier: Apache-2.0
#include "plugins/target/libvirt/connection.hpp"

#include <libvirt/virterror.h>

#include <cstdlib>

namespace hyperhost::libvirt_target {
namespace {

hyper_st status_of(const virError& error) {
  switch (error.code) {
    case VIR_ERR_NO_DOMAIN:
    case VIR_ERR_NO_STORAGE_POOL:
    case VIR_ERR_NO_STORAGE_VOL:
    case VIR_ERR_NO_NETWORK:
      return HYPER_NOTFOUND;
    case VIR_ERR_STORAGE_VOL_EXIST:
    case VIR_ERR_DOM_EXIST:
      return HYPER_EXISTS;
    case VIR_ERR_AUTH_FAILED:
    case VIR_ERR_AUTH_CANCELLED:
    case VIR_ERR_AUTH_UNAVAILABLE:
    case VIR_ERR_OPERATION_DENIED:
    case VIR_ERR_ACCESS_DENIED:
      return HYPER_AUTH;
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_NO_SUPPORT:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
      return HYPER_UNSUPPORTED;
    case VIR_ERR_SYSTEM_ERROR:
      return error.int1 == ENOSPC || error.int1 == EDQUOT ? HYPER_NOSPACE : HYPER_IO;
    case VIR_ERR_RPC:
    case VIR_ERR_NO_CONNECT:
      return HYPER_IO;
    default:
      return HYPER_FAIL;
  }
}

}  // namespace

Connection connect(const std::string& uri) {
  virSetErrorFunc(nullptr, [](void*, virErrorPtr) {});
  if (virInitialize() != 0) throw failure("cannot start libvirt");
  Connection out(virConnectOpen(uri.c_str()));
  if (!out) {
    const hyper::Error why = failure("cannot connect to " + uri);
    // Whatever it is that keeps the daemon away may be over at the next try.
    throw hyper::Error(why.status() == HYPER_AUTH ? HYPER_AUTH : HYPER_IO, why.summary(),
                       why.detail())
        .at("/uri");
  }
  return out;
}

Connection shared(virConnect* connection) {
  if (virConnectRef(connection) != 0) throw failure("cannot hold the connection to libvirt");
  return Connection(connection);
}

hyper::Error failure(const std::string& what) {
  const virError* const error = virGetLastError();
  if (error == nullptr || error->code == VIR_ERR_OK) return {HYPER_FAIL, what};
  return {status_of(*error), what, error->message == nullptr ? "" : error->message};
}

bool is_missing() {
  const virError* const error = virGetLastError();
  return error != nullptr && status_of(*error) == HYPER_NOTFOUND;
}

std::string taken(char* text, const std::string& what) {
  if (text == nullptr) throw failure(what);
  std::string out = text;
  std::free(text);
  return out;
}

}  // namespace hyperhost::libvirt_target
