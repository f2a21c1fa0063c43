// SPDX-License-Identifier: Apache-2.0
// Who besides root and the user can change a file that decides what code runs with the user's
// rights. Stateless: any thread.
#pragma once

#include <string>

struct stat;

namespace hyperhost {

/// Why others could change what is at this path, with a remedy; empty = only root and the user can.
/// A group is trusted if it is root's, or the user's own and it has no other member.
std::string strangers(const struct stat& status, const std::string& path);

}  // namespace hyperhost
