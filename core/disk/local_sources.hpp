// SPDX-License-Identifier: Apache-2.0
// Sources that the core itself opens: a local file (staged data, the arguments of convert, verify
// and compare) and a disk that was never written. They pass the ABI like a plugin's.
#pragma once

#include <hyper/source.hpp>

#include <memory>
#include <string>

#include "core/plugin/handles.hpp"

namespace hyperhost {

/// SEEK, FILE, EXTENTS, SIBLING (files in the same directory). The format is left open unless
/// given. Throws Error; a directory, socket or FIFO is refused.
std::unique_ptr<SourceHandle> open_file_source(const std::string& path,
                                               const std::string& format = {});

/// The same as a plugin would offer it. Throws hyper::Error.
std::unique_ptr<hyper::Source> file_source(const std::string& path, const std::string& format);

/// `length` zero bytes, format "raw", one hole.
std::unique_ptr<SourceHandle> open_blank_source(uint64_t length);

}  // namespace hyperhost
