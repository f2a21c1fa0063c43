// SPDX-License-Identifier: Apache-2.0
// A regular file as a source: seekable, with its holes as extents, and locatable, so that other
// programs can read it in place. Owns its descriptor; any number of reads at once.
#ifndef HYPERHOST_STORAGE_LOCAL_LOCAL_SOURCE_HPP
#define HYPERHOST_STORAGE_LOCAL_LOCAL_SOURCE_HPP

#include <hyper/source.hpp>
#include <hyper/sparse_runs.hpp>
#include <string>

#include "plugins/storage/local/unique_fd.hpp"

namespace hyperhost::storage_local {

class LocalSource final : public hyper::Source {
 public:
  /// Throws unless fd is a regular file. path: absolute, for messages and locate().
  LocalSource(UniqueFd fd, std::string path);

  hyper::SourceTraits traits() const override;
  void read_at(hyper::Op op, uint64_t offset, void* buf, uint64_t len) override;
  void extents(hyper::Op op, uint64_t offset, uint64_t len, const hyper::EmitExtent& emit) override;
  hyper::FileRange locate(hyper::Op) override;

 private:
  UniqueFd fd_;
  std::string path_;
  uint64_t length_ = 0;
  hyper::SparseRuns runs_;
};

}  // namespace hyperhost::storage_local

#endif
