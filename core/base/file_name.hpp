// SPDX-License-Identifier: Apache-2.0
// A VM's name as the name of a directory or file. Stateless: any thread.
#pragma once

#include <string>
#include <string_view>

namespace hyperhost {

inline constexpr size_t kMaxFileNameBytes = 200;  ///< leaves room for "-disk-12.qcow2.part"

/// Always a name that is safe in any directory: not empty, not "." or "..", no '/', '\', control
/// characters or characters a shell or Windows share stumbles over, no leading '-', '.' or space,
/// no trailing '.' or space, valid UTF-8, at most kMaxFileNameBytes. What does not fit becomes
/// %XX (so different names stay different); a name that is too long is cut at a character and
/// ends in "~" and a hash of the whole. The same name always gives the same result, and one that
/// is safe already is returned as it is.
std::string safe_file_name(std::string_view vm_name);

}  // namespace hyperhost
