// SPDX-License-Identifier: Apache-2.0
// A disk of a package as a source of the ABI. A plain file, a member or a row of chunks can be
// read anywhere, by any number of threads; a gzip-compressed one is a stream.
#pragma once

#include <memory>

#include <hyper/source.hpp>

#include "contents.hpp"

namespace hyper::ovf {

/// verify: compute and compare checksums while the disk is read. disk belongs to contents.
/// REQUIRES: !disk.blank.
std::unique_ptr<Source> open_source(std::shared_ptr<const Contents> contents, const Disk& disk,
                                    bool verify);

}  // namespace hyper::ovf
