// SPDX-License-Identifier: Apache-2.0
// What a directory of the storage plugin "local" holds, as the JSON objects of storage.h. Links are
// not followed and unfinished files not shown. Free functions; any thread.
#ifndef HYPERHOST_STORAGE_LOCAL_LISTING_HPP
#define HYPERHOST_STORAGE_LOCAL_LISTING_HPP

#include <sys/stat.h>

#include <hyper/op.hpp>
#include <string>

#include "plugins/storage/local/rooted_directory.hpp"

namespace hyperhost::storage_local {

std::string entry_json(const std::string& key, const std::string& location,
                       const struct stat& info);

/// Emits an entry for each regular file whose key begins with prefix, in the order of the names,
/// directory by directory; memory for the names of one path of directories at a time.
void list_files(hyper::Op op, const RootedDirectory& root, const std::string& prefix,
                const hyper::Emit& emit);

}  // namespace hyperhost::storage_local

#endif
