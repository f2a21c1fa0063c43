// SPDX-License-Identifier: Apache-2.0
// Where the steps of a preparation work: the guest's files, and the record of what was found and
// changed. An inspection runs the same steps with `writes` false, so that both find the same. One
// thread.
#ifndef HYPERHOST_GUESTFS_BENCH_HPP
#define HYPERHOST_GUESTFS_BENCH_HPP

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "plugins/guest/guestfs/guest_files.hpp"
#include "plugins/guest/guestfs/text/edit.hpp"

namespace hyperhost::guestfs {

/// A change that was made.
struct Action {
  std::string rule, what, path, before, after;
};

/// Something that keeps the guest from booting, or may.
struct Finding {
  enum class Severity { kNote, kWarning, kError } severity = Severity::kWarning;
  std::string rule, summary, evidence, hint;
  bool fixable = false;  ///< by this plugin
};

struct FileDigests {
  std::string before, after;  ///< "" = no such file
};

class Bench {
 public:
  Bench(GuestFiles& files, bool writes) : files_(files), writes_(writes) {}
  GuestFiles& files() { return files_; }
  bool writes() const { return writes_; }

  /// Edits a file that exists. Returns whether it changed (or would, where nothing is written).
  /// Problems of the edit become findings.
  bool edit(const std::string& path, const std::string& what,
            const std::function<Edit(const std::string& text)>& editor);
  /// Writes a whole file unless it has that content.
  bool put(const std::string& path, const std::string& content, const std::string& rule,
           const std::string& what);
  /// As put() with the content of another file.
  bool copy(const std::string& from, const std::string& to, const std::string& rule,
            const std::string& what);
  /// Runs `change` and records what became of these files.
  void change(const std::vector<std::string>& paths, const std::function<void()>& change);

  /// Both make the guest's text fit for a report.
  void did(Action action);
  void found(Finding finding);

  const std::vector<Action>& actions() const { return actions_; }
  const std::vector<Finding>& findings() const { return findings_; }
  const std::map<std::string, FileDigests>& changed_files() const { return changed_; }

 private:
  GuestFiles& files_;
  bool writes_;
  std::vector<Action> actions_;
  std::vector<Finding> findings_;
  std::map<std::string, FileDigests> changed_;
};

}  // namespace hyperhost::guestfs

#endif
