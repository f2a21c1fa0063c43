// SPDX-License-Identifier: Apache-2.0
// What main() of each program does first and last.
#pragma once

namespace hyperhost {

/// What the program started with must not end up inside a disk image: a descriptor 0, 1 or 2 that
/// was closed would be given to the next file that is opened, and the log would go there.
void secure_standard_streams();

/// No core file, and no look into this process by others of its user: its memory holds passwords.
void keep_memory_private();

/// A report that could not be written is no success: `status`, or the failure where standard output
/// could not be written.
int with_output_written(int status);

}  // namespace hyperhost
