// SPDX-License-Identifier: Apache-2.0
// SQLite's statements as an object: bound left to right, stepped, finalised by the destructor.
// Failures throw Error with the database's own words. One thread at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>

#include "core/base/diagnostic.hpp"

namespace hyperhost {

inline Error sqlite_error(sqlite3* db, const std::string& what) {
  const int code = db == nullptr ? SQLITE_NOMEM : sqlite3_errcode(db);
  Diagnostic out;
  out.code = code == SQLITE_FULL                               ? Code::kNoSpace
             : code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? Code::kCorrupt
             : code == SQLITE_CANTOPEN || code == SQLITE_IOERR ? Code::kIo
             : code == SQLITE_READONLY || code == SQLITE_PERM  ? Code::kAuth
             : code == SQLITE_BUSY                             ? Code::kBusy
                                                               : Code::kFail;
  out.summary = what;
  out.detail = db == nullptr ? "out of memory" : sqlite3_errmsg(db);
  out.native_code = code;
  if (out.code == Code::kCorrupt)
    out.hint = "the state database is damaged: move it away; finished files are not affected";
  return Error(out);
}

class Statement {
 public:
  Statement(sqlite3* db, const char* sql) : db_(db) {
    if (sqlite3_prepare_v2(db, sql, -1, &statement_, nullptr) != SQLITE_OK)
      throw sqlite_error(db, std::string("state database: ") + sql);
  }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(int64_t value) {
    sqlite3_bind_int64(statement_, ++bound_, value);
    return *this;
  }
  Statement& bind(const std::string& text) {
    sqlite3_bind_text(statement_, ++bound_, text.data(), static_cast<int>(text.size()),
                      SQLITE_TRANSIENT);
    return *this;
  }
  /// True: a row is there.
  bool step() {
    const int status = sqlite3_step(statement_);
    if (status == SQLITE_ROW) return true;
    if (status == SQLITE_DONE) return false;
    throw sqlite_error(db_, "state database");
  }
  void run() {
    while (step()) {
    }
  }
  int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::string text(int column) const {
    const auto* data = sqlite3_column_text(statement_, column);
    if (data == nullptr) return {};
    return std::string(reinterpret_cast<const char*>(data),
                       static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
  }

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

}  // namespace hyperhost
