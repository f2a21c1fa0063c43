// SPDX-License-Identifier: Apache-2.0
// Whether this user can make libguestfs' appliance from an installed kernel. Stateless: any thread.
#ifndef HYPERHOST_GUEST_KERNELS_HPP
#define HYPERHOST_GUEST_KERNELS_HPP

#include <string>

namespace hyperhost::guest {

/// What to do where kernels are installed and this user can read none of them; else "".
std::string unreadable_kernels(const std::string& directory = "/boot");

}  // namespace hyperhost::guest

#endif
