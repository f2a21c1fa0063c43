// SPDX-License-Identifier: Apache-2.0
// Hostile and random plans. That the engine's verdict is that of an independent JSON Schema
// implementation over thousands of mutated plans, and that no mutation of the text crashes it.
// The generators are seeded: each run sees the same plans.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "core/config/read_yaml.hpp"
#include "core/config/schema.hpp"
#include "core/plan/plan.hpp"

namespace hyperhost {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kSource = HYPERHOST_SOURCE_DIR;

std::string read_file(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::vector<fs::path> plans() {
  std::vector<fs::path> files;
  for (const char* directory : {"/configs/plans", "/tests/unit/plan/bad"}) {
    for (const auto& entry : fs::directory_iterator(kSource + directory)) {
      if (entry.path().extension() == ".yaml") files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// Every place in the document.
void places(json& node, std::vector<json*>& all) {
  all.push_back(&node);
  if (node.is_structured()) {
    for (auto& part : node) places(part, all);
  }
}

/// One random change: a value of another kind, a key or item gone, a key or item more.
void mutate(json& document, std::mt19937& random) {
  static const std::vector<json> kValues = {nullptr,
                                            true,
                                            false,
                                            0,
                                            1,
                                            -1,
                                            5,
                                            1.0,
                                            1.5,
                                            1e6,
                                            "",
                                            "a",
                                            "none",
                                            "zstd",
                                            "5s",
                                            "64KiB",
                                            "64 ",
                                            "5 ",
                                            "9:x",
                                            "127.0.0.1:80",
                                            "s3://b/p",
                                            "-x",
                                            "qcow2",
                                            json::array(),
                                            json::object(),
                                            json::array({"x"}),
                                            json({{"env", "A"}}),
                                            json({{"file", "f"}}),
                                            json({{"env", "A"}, {"file", "f"}}),
                                            json({{"env", ""}}),
                                            json({{"env", 1}}),
                                            json({{"plugin", "x"}}),
                                            json({{"plugin", "x"}, {"options", json::object()}}),
                                            json({{"listen", ":1"}})};
  static const std::vector<std::string> kKeys = {
      "vm",     "plugin", "upload",  "tags",        "env",    "options", "token",     "listen",
      "secret", "extra",  "version", "destination", "verify", "disks",   "keep_local"};
  std::vector<json*> all;
  places(document, all);
  json& node = *all[random() % all.size()];
  const json& value = kValues[random() % kValues.size()];
  const auto choice = random() % 4;
  if (choice == 0 && node.is_object() && !node.empty()) {
    node.erase(std::next(node.begin(), static_cast<long>(random() % node.size())));
  } else if (choice == 1 && node.is_object()) {
    node[kKeys[random() % kKeys.size()]] = value;
  } else if (choice == 1 && node.is_array()) {
    node.push_back(value);
  } else if (choice == 2 && node.is_array() && !node.empty()) {
    node.erase(node.begin() + static_cast<long>(random() % node.size()));
  } else {
    node = value;
  }
}

// The rules of plan_rules.cpp are beyond a schema and take no part here, and the generator makes
// no durations and sizes that overflow: those the engine refuses and a schema cannot.
TEST(PlanPeer, AnIndependentValidatorGivesTheSameVerdicts) {
  if (std::system("/usr/bin/python3 -c 'import jsonschema' 2>/dev/null") != 0) {
    if (std::getenv("CI") != nullptr) FAIL() << "python3-jsonschema is not installed";
    GTEST_SKIP() << "python3-jsonschema is not installed";
  }
  std::vector<json> documents;
  std::mt19937 random(20240607);
  for (const fs::path& file : plans()) {
    std::vector<Diagnostic> ignored;
    const auto tree = read_yaml(read_file(file), file.filename().string(), ignored);
    if (!tree || file.stem() == "billion_laughs") continue;
    const json document = tree->to_json();
    documents.push_back(document);
    for (int i = 0; i < 120; ++i) {
      json changed = document;
      for (auto changes = 1 + random() % 2; changes > 0; --changes) mutate(changed, random);
      documents.push_back(std::move(changed));
    }
  }
  const fs::path directory =
      fs::path(testing::TempDir()) / ("plan-peer-" + std::to_string(::getpid()));
  fs::create_directories(directory);
  {
    std::ofstream input(directory / "input");
    for (const json& document : documents) input << document.dump() << "\n";
  }
  const std::string command = "/usr/bin/python3 " + kSource + "/tests/unit/plan/schema_peer.py " +
                              kSource + "/configs/plan.schema.json < " +
                              (directory / "input").string() + " > " +
                              (directory / "output").string();
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::ifstream output(directory / "output");
  size_t valid = 0;
  for (const json& document : documents) {
    int peer = -1;
    output >> peer;
    ConfigValue value = ConfigValue::from_json(document, {});
    std::vector<Diagnostic> problems;
    const bool ours = validate(value, plan_schema(), "", {false, {}}, problems);
    valid += ours;
    ASSERT_EQ(peer, ours ? 1 : 0) << document.dump(1) << "\n"
                                  << (problems.empty() ? "" : to_string(problems.front()));
  }
  EXPECT_GT(valid, documents.size() / 20);  // both verdicts occur
  EXPECT_LT(valid, documents.size() / 2);
  fs::remove_all(directory);
}

TEST(PlanFuzz, NoTextCrashesTheParser) {
  static const std::vector<std::string> kBits = {":",
                                                 " ",
                                                 "\n",
                                                 "\t",
                                                 "- ",
                                                 "[",
                                                 "]",
                                                 "{",
                                                 "}",
                                                 ",",
                                                 "#",
                                                 "'",
                                                 "\"",
                                                 "|",
                                                 ">",
                                                 "&a ",
                                                 "*a",
                                                 "<<: ",
                                                 "!!str ",
                                                 "!x ",
                                                 "? ",
                                                 "---\n",
                                                 "...\n",
                                                 "%YAML 1.2\n",
                                                 "~",
                                                 "\\",
                                                 "\r\n",
                                                 "\xff",
                                                 "\xc3\xa9",
                                                 "\xef\xbb\xbf",
                                                 "99999999999999999999",
                                                 "0x",
                                                 ".inf",
                                                 "{env: A}",
                                                 "env",
                                                 "5s",
                                                 "EiB",
                                                 "~1",
                                                 "/"};
  std::vector<std::string> texts;
  for (const fs::path& file : plans()) {
    if (file.stem() != "billion_laughs")
      texts.push_back(read_file(file));  // costs time, has its own test
  }
  std::mt19937 random(7);
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(2500);
  int rounds = 0, good = 0;
  for (; rounds < 3000 && std::chrono::steady_clock::now() < until; ++rounds) {
    std::string text = texts[random() % texts.size()];
    for (auto changes = 1 + random() % 4; changes > 0; --changes) {
      const size_t at = random() % (text.size() + 1);
      const size_t length = std::min<size_t>(random() % 12, text.size() - at);
      const std::string& other = texts[random() % texts.size()];
      switch (random() % 4) {
        case 0:
          text.erase(at, length);
          break;
        case 1:
          text.insert(at, kBits[random() % kBits.size()]);
          break;
        case 2:
          text.replace(at, length, kBits[random() % kBits.size()]);
          break;
        default:
          text.insert(at, other.substr(random() % other.size(), random() % 80));
          break;
      }
    }
    const PlanResult result = parse_plan(text, "fuzz.yaml");
    good += result.plan != nullptr;
    const bool error =
        std::any_of(result.diagnostics.begin(), result.diagnostics.end(),
                    [](const Diagnostic& one) { return one.severity == Severity::kError; });
    ASSERT_NE(result.plan != nullptr, error) << text;
    for (const Diagnostic& one : result.diagnostics) ASSERT_FALSE(one.summary.empty()) << text;
  }
  EXPECT_GT(rounds, 50);
}

}  // namespace
}  // namespace hyperhost
