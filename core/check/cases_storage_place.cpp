// SPDX-License-Identifier: Apache-2.0
// hyper.storage/1: what info() says of the place, and what it does to it.
#include <algorithm>
#include <filesystem>
#include <set>

#include "core/check/checked_store.hpp"

namespace hyperhost::check {
namespace {

struct SinkWord {
  const char* text;
  uint32_t flag;
};
constexpr SinkWord kSinkWords[] = {
    {"random", HYPER_SINK_RANDOM},     {"parts", HYPER_SINK_PARTS},
    {"append", HYPER_SINK_APPEND},     {"path", HYPER_SINK_PATH},
    {"readback", HYPER_SINK_READBACK}, {"resume", HYPER_SINK_RESUME}};

/// info() of the same options with another place. Throws what connect() or info() throws.
nlohmann::json info_at(Run& run, const std::string& path) {
  Operation op = operation("info");
  run.at("connect() to " + path);
  StorageHandle storage(run.plugin(), run.options_at(HYPER_IFACE_STORAGE, path), op);
  run.at("info() of " + path);
  return storage.info(op);
}

}  // namespace

void case_storage_place(Run& run) {
  CheckedStore store(run);
  Operation op = operation("info");
  run.at("info()");
  const nlohmann::json info = (*store).info(op);
  const std::string key = CheckedStore::prefix() + "/info";
  {
    const auto sink = store.put(key, 4096);
    for (const SinkWord& word : kSinkWords) {
      const auto listed = info.value("sink", nlohmann::json::array());
      const bool said = std::find(listed.begin(), listed.end(), word.text) != listed.end();
      run.expect(!said || sink->can(word.flag), std::string("info() says that sinks can \"") +
                                                    word.text + "\", and put() opens one that " +
                                                    "cannot");
    }
  }
  const std::string made = run.made_directory(HYPER_IFACE_STORAGE);
  if (made.empty()) return;
  // A directory that is not there yet: whatever info() answers, it makes nothing.
  const std::string absent = run.scratch() + "/absent";
  try {
    static_cast<void>(info_at(run, absent + "/below"));
  } catch (const Error& error) {
    run.expect_error("info() of a directory that is not there",
                     [&] { throw Error(error.diagnostic()); });
  }
  run.expect(!std::filesystem::exists(absent), "connect() or info() makes the directory");
  // Below a file there can be no directory, for root neither.
  const std::string file = run.scratch() + "/plain-file";
  write_file(file, {1});
  run.expect_error("info() of a place that cannot be written to",
                   [&] { static_cast<void>(info_at(run, file + "/below")); });
}

}  // namespace hyperhost::check
