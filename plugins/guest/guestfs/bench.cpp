// SPDX-License-Identifier: Apache-2.0
#include "plugins/guest/guestfs/bench.hpp"

namespace hyperhost::guestfs {
namespace {

/// A guest's text as it may stand in a report: short, and without what a terminal or a JSON reader
/// would take amiss.
std::string shown(const std::string& text) {
  constexpr std::size_t kMost = 1000;
  std::string out = text.substr(0, kMost);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f)
      c = c == '\t' || c == '\n' ? ' ' : '?';
  return text.size() > kMost ? out + "..." : out;
}

}  // namespace

void Bench::did(Action action) {
  for (std::string* text : {&action.path, &action.before, &action.after}) *text = shown(*text);
  actions_.push_back(std::move(action));
}

void Bench::found(Finding finding) {
  for (std::string* text : {&finding.summary, &finding.evidence}) *text = shown(*text);
  findings_.push_back(std::move(finding));
}

void Bench::change(const std::vector<std::string>& paths, const std::function<void()>& change) {
  std::vector<std::string> before;
  for (const std::string& path : paths) before.push_back(files_.digest(path));
  change();
  for (std::size_t i = 0; i < paths.size(); ++i) {
    const std::string after = files_.digest(paths[i]);
    const auto known = changed_.find(paths[i]);
    if (known != changed_.end())
      known->second.after = after;
    else if (after != before[i])
      changed_[paths[i]] = {before[i], after};
  }
}

bool Bench::edit(const std::string& path, const std::string& what,
                 const std::function<Edit(const std::string& text)>& editor) {
  const auto text = files_.read(path);
  if (!text) return false;
  const Edit edit = editor(*text);
  bool changed = false;
  for (const Change& one : edit.changes) {
    if (!one.problem.empty()) {
      found({Finding::Severity::kError, one.rule,
             "A name in " + path + " belongs to the old machine",
             one.before + " (" + one.problem + ")",
             "Write a UUID there in the guest before the migration."});
      continue;
    }
    changed = true;
    if (writes_)
      did({one.rule, what, path, one.before, one.after});
    else
      found({Finding::Severity::kError,
             one.rule,
             what + " is needed in " + path,
             one.before,
             {},
             true});
  }
  if (!changed || edit.text == *text) return false;
  if (writes_) change({path}, [&] { files_.write(path, edit.text); });
  return true;
}

bool Bench::put(const std::string& path, const std::string& content, const std::string& rule,
                const std::string& what) {
  if (files_.read(path) == content) return false;
  if (!writes_) {
    found({Finding::Severity::kWarning, rule, what + " is needed", path, {}, true});
    return true;
  }
  change({path}, [&] { files_.write(path, content); });
  did({rule, what, path, {}, {}});
  return true;
}

bool Bench::copy(const std::string& from, const std::string& to, const std::string& rule,
                 const std::string& what) {
  if (files_.digest(to) == files_.digest(from)) return false;
  if (writes_) {
    change({to}, [&] { files_.copy(from, to); });
    did({rule, what, to, {}, {}});
  }
  return true;
}

}  // namespace hyperhost::guestfs
