// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <hyper/op.hpp>
#include <map>
#include <mutex>
#include <set>

#include "core/base/redactor.hpp"
#include "core/check/run.hpp"

namespace hyperhost::check {
namespace {

/// One for the process: the table's functions have no place for a pointer of ours.
struct Watch {
  std::mutex mutex;
  Run* run = nullptr;
  std::set<std::string> secrets, said;
  std::map<std::string, uint64_t> done;  // by the operation's name, which is unique here

  void finding(const std::string& text) {
    if (run != nullptr && said.insert(text).second) run->fail(text);
  }
  void look(const char* text, const char* where) {
    if (text == nullptr) return;
    for (const std::string& secret : secrets)
      if (std::strstr(text, secret.c_str()) != nullptr)
        finding(std::string("a secret option appears in a ") + where);
  }
};
Watch& watch() {
  static Watch* const watch = new Watch;
  return *watch;
}

hyper_st report(hyper_op* op, const hyper_diag* diag) noexcept {
  if (diag != nullptr) {
    const std::lock_guard lock(watch().mutex);
    if (diag->size < offsetof(hyper_diag, detail) || diag->summary == nullptr)
      watch().finding("a report() without a summary");
    else {
      watch().look(diag->summary, "report");
      if (diag->size >= offsetof(hyper_diag, hint)) watch().look(diag->detail, "report");
      if (diag->size >= offsetof(hyper_diag, path)) watch().look(diag->hint, "report");
    }
  }
  return host_table()->report(op, diag);
}

void log(hyper_op* op, int32_t level, const char* message, const hyper_doc* fields) noexcept {
  {
    const std::lock_guard lock(watch().mutex);
    watch().look(message, "log line");
    if (fields != nullptr) watch().look(fields->json.dump().c_str(), "log line");
  }
  host_table()->log(op, level, message, fields);
}

void progress(hyper_op* op, uint64_t done, uint64_t total, const char* phase) noexcept {
  if (op == nullptr) return;
  {
    const std::lock_guard lock(watch().mutex);
    if (total != 0 && done > total) watch().finding("progress() says more was done than there is");
    uint64_t& before = watch().done[static_cast<Operation*>(op)->name()];
    if (done < before) watch().finding("progress() goes back");
    before = done;
  }
  host_table()->progress(op, done, total, phase);
}

}  // namespace

const hyper_host* watching_host(Run& run) {
  static hyper_host table = [] {
    hyper_host made = *host_table();
    made.report = report;
    made.log = log;
    made.progress = progress;
    return made;
  }();
  const std::lock_guard lock(watch().mutex);
  watch().run = &run;
  return &table;
}

void watch_secret(const std::string& secret) {
  const std::lock_guard lock(watch().mutex);
  if (secret.size() >= Redactor::kMinimumBytes) watch().secrets.insert(secret);
}

}  // namespace hyperhost::check
