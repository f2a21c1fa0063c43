// SPDX-License-Identifier: Apache-2.0
// Reads one section of an ELF64 file without loading the file. The host reads a plugin's manifest
// this way before any of the plugin's code runs. Any thread.
#pragma once

#include <optional>
#include <string>

namespace hyperhost {

/// The section's bytes (at most 1 MiB), or nothing if there is no such section. Throws Error if
/// the file cannot be read or is not a little-endian ELF64 shared object for this machine.
std::optional<std::string> read_elf_section(const std::string& path, const std::string& section);

}  // namespace hyperhost
