// SPDX-License-Identifier: Apache-2.0
// The host extension "hyper.journal/1" over the current Journal.
#include <hyper/hyper.h>

#include <cstring>
#include <mutex>

#include "core/os/process_identity.hpp"
#include "core/plugin/operation.hpp"
#include "core/state/journal.hpp"

namespace hyperhost {
namespace {

constexpr std::size_t kMaxEntryBytes = 64 * 1024;

std::mutex journal_mutex;
std::shared_ptr<Journal>& journal_slot() {
  static std::shared_ptr<Journal> journal;
  return journal;
}

hyper_st report_error(hyper_op* op, const Diagnostic& error) noexcept {
  hyper_diag diag{};
  diag.size = sizeof diag;
  diag.severity = HYPER_SEVERITY_ERROR;
  diag.code = static_cast<hyper_st>(error.code);
  diag.summary = error.summary.c_str();
  diag.detail = error.detail.c_str();
  diag.hint = error.hint.c_str();
  diag.native_code = error.native_code;
  return host_table()->report(op, &diag);
}

template <class F>
hyper_st with_journal(hyper_op* op, uint32_t flags, F&& f) noexcept {
  try {
    if (flags != 0) throw Error(Code::kUnsupported, "the journal knows no flags");
    const auto journal = current_journal();
    if (!journal)
      throw Error(Code::kUnsupported, "no journal is kept here: nothing may be changed");
    f(*journal);
    return HYPER_OK;
  } catch (const Error& error) {
    return report_error(op, error.diagnostic());
  } catch (const std::exception& error) {
    return report_error(op, Error(Code::kFail, "journal", error.what()).diagnostic());
  }
}

const nlohmann::json& checked(const hyper_doc* entry) {
  if (entry == nullptr || !entry->json.is_object() || entry->json.dump().size() > kMaxEntryBytes)
    throw Error(Code::kFail, "a journal entry is no object or longer than 64 KiB");
  const auto plugin = entry->json.find("plugin");
  if (plugin == entry->json.end() || !plugin->is_string())
    throw Error(Code::kFail, "a journal entry does not name its plugin");
  return entry->json;
}

hyper_st open(hyper_op* op, uint32_t flags, const hyper_doc* entry, uint64_t* id) noexcept {
  return with_journal(op, flags, [&](Journal& journal) {
    const nlohmann::json& what = checked(entry);
    *id = journal.open_entry(what["plugin"].get<std::string>(), what);
  });
}

hyper_st update(hyper_op* op, uint32_t flags, uint64_t id, const hyper_doc* entry) noexcept {
  return with_journal(op, flags,
                      [&](Journal& journal) { journal.update_entry(id, checked(entry)); });
}

hyper_st close(hyper_op* op, uint32_t flags, uint64_t id) noexcept {
  return with_journal(op, flags, [&](Journal& journal) { journal.close_entry(id); });
}

hyper_st list(hyper_op* op, uint32_t flags, const char* plugin, hyper_emit emit,
              void* arg) noexcept {
  return with_journal(op, flags, [&](Journal& journal) {
    journal.each_entry(plugin == nullptr ? "" : plugin, [&](const JournalEntry& entry) {
      nlohmann::json what = entry.what;
      what["entry"] = entry.id;
      what["abandoned"] = process_state(entry.owner) == ProcessState::kGone;
      const std::string text = what.dump();
      if (emit(arg, text.data(), text.size()) != HYPER_OK)
        throw Error(Code::kFail, "reading the journal was stopped");
    });
  });
}

}  // namespace

void set_journal(std::shared_ptr<Journal> journal) {
  const std::lock_guard lock(journal_mutex);
  journal_slot() = std::move(journal);
}

std::shared_ptr<Journal> current_journal() {
  const std::lock_guard lock(journal_mutex);
  return journal_slot();
}

const hyper_journal* journal_table() {
  static const hyper_journal table = {sizeof(hyper_journal), 0, open, update, close, list};
  return &table;
}

}  // namespace hyperhost
