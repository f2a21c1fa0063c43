// SPDX-License-Identifier: Apache-2.0
// What a plugin leaves behind: files in the directories that the suite made for it, and entries in
// the journal of the suite's own. The journal outlives the process: a case kills one and looks.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/check/run.hpp"
#include "core/state/journal.hpp"

namespace hyperhost::check {

/// Each file below a directory (a path relative to it) with its size, inode and times.
using Files = std::map<std::string, std::string>;
/// Empty where there is no such directory. Directories are no files.
Files files_below(const std::string& directory);
/// What of `after` is not in `before` or has changed or is gone; "" = nothing. At most three names.
std::string changes(const Files& before, const Files& after);

/// A journal in a file. Several processes use it one after the other. Thread-safe.
std::shared_ptr<Journal> file_journal(const std::string& path);
/// The open entries of all plugins, as list() of hyper.journal/1 emits them.
std::vector<nlohmann::json> open_entries(Journal& journal);

/// From here on operation() has this journal.
void keep_journal(std::shared_ptr<Journal> journal);

/// Runs the step of a case in a process of its own that has the same process id each time, where
/// the kernel lets us (a PID namespace), and kills it as soon as it says that it is ready. Its
/// findings go to the parent. False: it ended by itself before.
bool run_and_kill(Run& run, const std::string& name, const std::string& step);
/// The same without killing it.
void run_to_end(Run& run, const std::string& name, const std::string& step);
/// Called by a step that is to be killed.
[[noreturn]] void ready_to_be_killed();

}  // namespace hyperhost::check
