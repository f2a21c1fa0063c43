// SPDX-License-Identifier: Apache-2.0
// The program's version, from the project's CMakeLists.txt. Constant; any thread.
#pragma once

namespace hyperhost {

/// "1.0.0".
const char* version();

}  // namespace hyperhost
