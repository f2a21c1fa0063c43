// SPDX-License-Identifier: Apache-2.0
// libvirt's objects, released with their owners, and its errors as hyper::Error. Any thread.
#ifndef HYPERHOST_LIBVIRT_TARGET_CONNECTION_HPP
#define HYPERHOST_LIBVIRT_TARGET_CONNECTION_HPP

#include <libvirt/libvirt.h>

#include <hyper/error.hpp>
#include <memory>
#include <string>

namespace hyperhost::libvirt_target {

template <auto Free>
struct Release {
  template <class T>
  void operator()(T* object) const {
    static_cast<void>(Free(object));
  }
};
using Connection = std::unique_ptr<virConnect, Release<virConnectClose>>;
using Domain = std::unique_ptr<virDomain, Release<virDomainFree>>;
using Pool = std::unique_ptr<virStoragePool, Release<virStoragePoolFree>>;
using Volume = std::unique_ptr<virStorageVol, Release<virStorageVolFree>>;
using Network = std::unique_ptr<virNetwork, Release<virNetworkFree>>;
using Stream = std::unique_ptr<virStream, Release<virStreamFree>>;

/// Connects. libvirt prints nothing from here on.
Connection connect(const std::string& uri);
/// The same connection, for one more owner.
Connection shared(virConnect* connection);
/// The last error of this thread, as that of `what`.
[[nodiscard]] hyper::Error failure(const std::string& what);
/// Whether the last error of this thread is of a thing that is not there.
bool is_missing();
/// A text that libvirt allocated; throws failure(what) for null.
std::string taken(char* text, const std::string& what);

}  // namespace hyperhost::libvirt_target

#endif
