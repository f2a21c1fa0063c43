// SPDX-License-Identifier: Apache-2.0
// hyper.target/draft-1 without a platform: what define() answers are files, which the host writes
// beside the disks. Nothing outside is changed, so that there is nothing to undo. Any thread.
#ifndef HYPERHOST_FILE_TARGET_FILE_TARGET_HPP
#define HYPERHOST_FILE_TARGET_FILE_TARGET_HPP

#include <hyper/draft/target.hpp>
#include <memory>
#include <string>
#include <vector>

#include "plugins/target/file/render.hpp"

namespace hyperhost::file_target {

class FileTarget final : public hyper::TargetConnection {
 public:
  static std::unique_ptr<FileTarget> connect(const hyper::Doc& options, hyper::Op op);

  std::string info(hyper::Op op) override;
  std::string plan(hyper::Op op, const hyper::Doc& request) override;
  std::string define(hyper::Op op, const hyper::Doc& request) override;

 private:
  /// The files that can be made, and why others cannot.
  std::vector<Rendered> render(const Machine& machine, std::vector<std::string>& notes) const;

  std::vector<std::string> platforms_;
  std::string import_url_;
};

}  // namespace hyperhost::file_target

#endif
