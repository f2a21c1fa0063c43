// SPDX-License-Identifier: Apache-2.0
// Plans as people write them: the shipped examples, and every kind of mistake with its message.
#include "core/plan/plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/config/read_yaml.hpp"
#include "core/config/schema.hpp"

namespace hyperhost {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const fs::path kExamples = HYPERHOST_SOURCE_DIR "/configs/plans";
const fs::path kBad = HYPERHOST_SOURCE_DIR "/tests/unit/plan/bad";

std::string read_file(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  std::ostringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string messages(const PlanResult& result) {
  std::string text;
  for (const Diagnostic& one : result.diagnostics) {
    text += std::string(severity_name(one.severity)) + ": " + to_string(one) + "\n";
  }
  return text;
}

std::vector<fs::path> yaml_files(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string case_name(const testing::TestParamInfo<fs::path>& info) {
  return info.param.stem().string();
}

class ExamplePlan : public testing::TestWithParam<fs::path> {};

TEST_P(ExamplePlan, IsValid) {
  const PlanResult result = load_plan(GetParam());
  EXPECT_TRUE(result.plan) << messages(result);
  EXPECT_EQ(messages(result), "");
}

INSTANTIATE_TEST_SUITE_P(Shipped, ExamplePlan, testing::ValuesIn(yaml_files(kExamples)), case_name);

class BadPlan : public testing::TestWithParam<fs::path> {};

// The messages are what people read: each is compared with NAME.expected to the letter.
// HYPERHOST_UPDATE_GOLDEN=1 rewrites those files, for a look at the difference.
TEST_P(BadPlan, SaysAllThatIsWrong) {
  const PlanResult result =
      parse_plan(read_file(GetParam()), GetParam().filename().string(), {{}, "/plans"});
  EXPECT_FALSE(result.plan);
  fs::path golden = GetParam();
  golden.replace_extension(".expected");
  if (std::getenv("HYPERHOST_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(golden) << messages(result);
    return;
  }
  EXPECT_EQ(messages(result), read_file(golden));
}

INSTANTIATE_TEST_SUITE_P(Golden, BadPlan, testing::ValuesIn(yaml_files(kBad)), case_name);

TEST(Plan, NeverShowsWhatMayBeASecret) {
  EXPECT_THAT(read_file(kBad / "secrets.yaml"), HasSubstr("hunter2"));
  EXPECT_THAT(messages(load_plan(kBad / "secrets.yaml")), testing::Not(HasSubstr("hunter2")));
}

TEST(Plan, FillsInEveryDefault) {
  const PlanResult result = load_plan(kExamples / "minimal.yaml");
  ASSERT_TRUE(result.plan) << messages(result);
  const Plan& plan = *result.plan;
  EXPECT_EQ(plan.name, "minimal");
  EXPECT_FALSE(plan.user.empty());
  EXPECT_EQ(plan.output_dir, kExamples / "out");
  EXPECT_EQ(plan.batch.retry_delay, std::chrono::seconds(5));
  EXPECT_EQ(plan.batch.max_retry_delay, std::chrono::minutes(5));
  EXPECT_EQ(plan.batch.answer_timeout, std::chrono::minutes(10));
  EXPECT_EQ(plan.providers.at("shelf").plugin.plugin, "local-ovf");
  EXPECT_EQ(plan.providers.at("shelf").plugin.options.to_json(),
            nlohmann::json({{"path", "/srv/exports"}}));
  const MigrationSpec& vm = plan.migrations.at(0);
  EXPECT_EQ(vm.plan_id, "shelf:web-server-01");
  EXPECT_EQ(vm.converter.plugin, "");  // the preferred one: the registry knows
  EXPECT_NE(vm.converter.options.members(), nullptr);
  EXPECT_EQ(vm.target_format, "qcow2");
  EXPECT_EQ(vm.convert_options.compression, Compression::kNone);
  EXPECT_EQ(vm.verify_export, Verify::kTarget);
  EXPECT_EQ(vm.durability, Durability::kFile);
  EXPECT_TRUE(vm.export_manifest && vm.parallel_disks);
  EXPECT_FALSE(vm.overwrite || vm.convert_options.deterministic || vm.upload);
  EXPECT_EQ(vm.max_parallel_disks, 4u);
  EXPECT_EQ(vm.vm_directory("web-server-01"), kExamples / "out/web-server-01");
}

TEST(Plan, AMigrationOverridesTheDefaults) {
  const PlanResult result = load_plan(kExamples / "complete.yaml");
  ASSERT_TRUE(result.plan) << messages(result);
  const Plan& plan = *result.plan;
  EXPECT_EQ(plan.ip_address, "192.0.2.7");
  const MigrationSpec &web = plan.migrations.at(0), &db = plan.migrations.at(1),
                      &billing = plan.migrations.at(2), &scratch = plan.migrations.at(3);
  EXPECT_EQ(web.convert_options.compression, Compression::kZstd);
  EXPECT_EQ(web.convert_options.compression_level, 3);
  EXPECT_EQ(web.convert_options.cluster_size, 65536u);
  EXPECT_EQ(web.converter.pointer, "/converter/options");
  EXPECT_TRUE(db.vm_is_pattern);
  EXPECT_EQ(db.convert_options.compression_level,
            std::nullopt);  // belongs to the compression taken back
  EXPECT_EQ(db.convert_options.cluster_size, std::nullopt);  // raw has none
  EXPECT_EQ(db.upload->destination, "s3://bucket/prefix");
  EXPECT_EQ(db.upload->storage.pointer, "/upload/storage");
  EXPECT_EQ(billing.plan_id, "billing-for-azure");
  EXPECT_EQ(billing.converter.plugin, "qemu-img");
  EXPECT_TRUE(billing.converter.options.members()->empty());
  EXPECT_EQ(billing.upload->storage.plugin, "azure-blob");
  EXPECT_FALSE(billing.upload->keep_local);
  EXPECT_EQ(billing.tags,
            (std::map<std::string, std::string>{{"wave", "1"}, {"owner", "finance"}}));
  EXPECT_TRUE(billing.disks.selects("disk-0"));
  EXPECT_FALSE(billing.disks.selects("disk-1"));
  EXPECT_FALSE(scratch.upload);
  EXPECT_TRUE(web.boot.wanted);
  EXPECT_EQ(web.boot.require, BootGrade::kLogin);
  EXPECT_EQ(web.boot.timeout, std::chrono::minutes(15));
  EXPECT_TRUE(web.guest.wanted);
  ASSERT_EQ(web.guest_plugins.size(), 1u);
  EXPECT_EQ(web.guest_plugins[0].pointer, "/defaults/guest/options");
  EXPECT_EQ(web.guest_plugins[0].plugin, "guestfs");
  EXPECT_FALSE(scratch.guest.wanted);
  EXPECT_EQ(web.boot.machine.type, "pc");
  EXPECT_FALSE(web.boot.isolated_network || web.boot.warn_only);
  EXPECT_EQ(web.boot_plugin.plugin, "qemu-boot");
  EXPECT_EQ(web.boot_plugin.pointer, "/defaults/boot/options");
  ASSERT_TRUE(web.traces_plugin);
  EXPECT_EQ(web.traces_plugin->plugin, "guestfs");
  EXPECT_EQ(web.traces_plugin->pointer, "/defaults/boot/traces/options");
  EXPECT_FALSE(scratch.boot.wanted);
  EXPECT_TRUE(web.target.wanted);
  EXPECT_FALSE(web.target.by_default || web.target.start);
  EXPECT_EQ(web.target_plugin.plugin, "file");
  EXPECT_EQ(web.target.networks.at("VM Network"), "bridge:br0");
  EXPECT_EQ(web.target.machine.memory_bytes, uint64_t{8} << 30);
  EXPECT_EQ(web.boot.machine.cpus, 4u);  // what boot and guest do not say is the target's
  EXPECT_FALSE(scratch.target.wanted);
  EXPECT_FALSE(scratch.disks.selects("disk-1"));
  EXPECT_EQ(plan.observability.metrics_api->host, "0.0.0.0");
  EXPECT_EQ(plan.observability.metrics_api->port, 9090);
  EXPECT_EQ(plan.observability.metrics_api->token->reference()->name, "metrics.token");
  EXPECT_EQ(plan.observability.audit_log->max_size_bytes, 100'000'000u);
  EXPECT_EQ(plan.observability.webhooks.at(0).url.reference()->name, "SLACK_URL");
  EXPECT_EQ(plan.observability.webhooks.at(2).type, WebhookType::kEmail);
}

std::shared_ptr<const Plan> small_plan(const std::string& rest) {
  const PlanResult result = parse_plan(
      "version: 1\nproviders: {shelf: {plugin: local-ovf, path: /srv}}\noutput_dir: /tmp/out\n" +
          rest,
      "p.yaml");
  EXPECT_TRUE(result.plan) << messages(result);
  return result.plan;
}

TEST(Plan, ADefaultThatTheOwnFormatMakesImpossibleGivesWay) {
  const auto plan = small_plan(
      "defaults: {compression: zstd, compression_level: 5}\nmigrations:\n"
      "  - {vm: a, provider: shelf}\n"
      "  - {vm: b, provider: shelf, target_format: raw}\n");
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->migrations[0].convert_options.compression, Compression::kZstd);
  EXPECT_EQ(plan->migrations[0].convert_options.compression_level, 5);
  EXPECT_EQ(plan->migrations[1].convert_options.compression, Compression::kNone);
  EXPECT_EQ(plan->migrations[1].convert_options.compression_level, std::nullopt);
  // Both from the defaults, or both the migration's own: one of the two is a mistake.
  for (const char* bad : {"defaults: {compression: zstd, target_format: raw}\nmigrations:\n"
                          "  - {vm: a, provider: shelf}\n",
                          "migrations:\n  - {vm: a, provider: shelf, target_format: raw, "
                          "compression: zstd}\n"})
    EXPECT_THAT(messages(parse_plan("version: 1\nproviders: {shelf: {plugin: local-ovf, path: "
                                    "/srv}}\noutput_dir: /tmp/out\n" +
                                        std::string(bad),
                                    "p.yaml")),
                HasSubstr("compression 'zstd' is not possible with target_format 'raw'"));
}

TEST(Plan, PatternsAndNamesThatLookLikeThem) {
  const auto plan = small_plan(
      "migrations:\n"
      "  - {vm: \"web-*\", provider: shelf, exclude: [web-9, \"web-test-*\"]}\n"
      "  - {vm: \"db[[]1]\", provider: shelf, output_name: db-1}\n"
      "  - {vm: \"what[?]\", provider: shelf}\n");
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->migrations[0].vm_is_pattern);
  EXPECT_EQ(plan->migrations[0].exclude, (std::vector<std::string>{"web-9", "web-test-*"}));
  EXPECT_FALSE(plan->migrations[1].vm_is_pattern);
  EXPECT_EQ(plan->migrations[1].vm_name, "db[1]");
  EXPECT_EQ(plan->migrations[2].vm_name, "what?");
  EXPECT_THAT(
      messages(parse_plan("version: 1\nproviders: {shelf: {plugin: local-ovf, path: /srv}}\n"
                          "output_dir: /tmp/out\nmigrations:\n"
                          "  - {vm: web-01, provider: shelf, exclude: [web-02]}\n",
                          "p.yaml")),
      HasSubstr("/migrations/0/exclude: exclude needs a pattern in vm: 'web-01' is one VM"));
}

TEST(Plan, OtherToolsWordsGetAHint) {
  EXPECT_THAT(
      messages(parse_plan("version: 1\nproviders: {shelf: {plugin: local-ovf, path: /srv}}\n"
                          "output_dir: /tmp/out\nobservability: {audit_log: /tmp/a.log}\n"
                          "migrations:\n  - {vm: a, provider: shelf}\n",
                          "p.yaml")),
      HasSubstr("write audit_log: {path: FILE}"));
}

TEST(Plan, WhoeverAsksForSourcesNeedsNoMigrations) {
  PlanOptions options;
  options.only_sources = true;
  const PlanResult result = parse_plan(
      "version: 1\nproviders: {shelf: {plugin: local-ovf, path: /srv}}\n", "p.yaml", options);
  ASSERT_TRUE(result.plan) << messages(result);
  EXPECT_TRUE(result.plan->providers.contains("shelf"));
  EXPECT_FALSE(parse_plan("version: 1\nproviders: {}\n", "p.yaml", options).plan);
}

TEST(Plan, MergeKeysShareSettings) {
  const PlanResult result = load_plan(kExamples / "overnight.yaml");
  ASSERT_TRUE(result.plan) << messages(result);
  EXPECT_EQ(result.plan->migrations.at(1).vm_name, "/DC/vm/prod/db-02");
  EXPECT_EQ(result.plan->migrations.at(1).priority, 10);
}

TEST(Plan, StraightToTheCloud) {
  const PlanResult result = load_plan(kExamples / "to_cloud.yaml");
  ASSERT_TRUE(result.plan) << messages(result);
  const auto& upload = result.plan->migrations.at(0).upload;
  EXPECT_EQ(upload->bandwidth_limit, 50'000'000u);
  EXPECT_EQ(upload->presign.count(), 0);
  EXPECT_FALSE(upload->keep_local);
  EXPECT_EQ(result.plan->batch.bandwidth_limit, 80'000'000u);
}

TEST(Plan, UploadToAnotherSchemeLeavesThePlansStorageBehind) {
  const PlanResult result = parse_plan(R"(
version: 1
providers: {p: {plugin: local-ovf}}
output_dir: out
upload: {destination: "s3://b/p", storage: {plugin: s3, region: r}}
migrations:
  - {vm: a, provider: p, upload: {destination: "gs://b/p"}}
  - {vm: b, provider: p, upload: {destination: "s3://other/p"}}
)",
                                       "p.yaml");
  ASSERT_TRUE(result.plan) << messages(result);
  EXPECT_EQ(result.plan->migrations[0].upload->storage.plugin, "");
  EXPECT_TRUE(result.plan->migrations[0].upload->storage.options.members()->empty());
  EXPECT_EQ(result.plan->migrations[1].upload->storage.options.to_json()["region"], "r");
}

TEST(Plan, OverridesAreValidatedLikeTheFile) {
  const auto with = [](std::vector<std::string> overrides) {
    return load_plan(kExamples / "minimal.yaml", {std::move(overrides), {}});
  };
  const PlanResult good =
      with({"defaults.verify=none", "migrations[0].tags.owner=me", "converter=qemu-img"});
  ASSERT_TRUE(good.plan) << messages(good);
  EXPECT_EQ(good.plan->migrations[0].verify_export, Verify::kNone);
  EXPECT_EQ(good.plan->migrations[0].tags.at("owner"), "me");
  EXPECT_EQ(good.plan->migrations[0].converter.plugin, "qemu-img");
  const PlanResult bad = with({"defaults.verfy=none", "migrations[3].vm=x", "nonsense"});
  EXPECT_FALSE(bad.plan);
  EXPECT_EQ(
      messages(bad),
      "error: --set migrations[3].vm: there is no item 3: the list has 1 (items count from 0)\n"
      "error: --set: this is not KEY=VALUE (write it as --set defaults.verify=none or --set "
      "migrations[0].priority=5)\n"
      "error: --set defaults.verfy: /defaults/verfy: unknown key 'verfy' (did you mean "
      "'verify'?)\n");
}

TEST(Plan, WhatCannotBeReadIsOneMessage) {
  EXPECT_THAT(messages(load_plan("/nonexistent/plan.yaml")),
              HasSubstr("No such file or directory"));
  EXPECT_THAT(messages(load_plan("/")), HasSubstr("this is a directory, not a plan"));
  EXPECT_THAT(messages(load_plan("/dev/zero")), HasSubstr("at most"));
}

TEST(Plan, HostileTextIsRefusedBeforeItCostsMemory) {
  for (const std::string unit :
       {"[", "{", "[1,", "{a: [", "- ", "? ", "&a ", "*a ", "!", "'", "\"", "|\n"}) {
    std::string text = "version: ";
    while (text.size() < kMaxYamlBytes / 4) text += unit;
    EXPECT_FALSE(parse_plan(text, "p.yaml").plan) << unit;
  }
  EXPECT_FALSE(parse_plan(std::string(kMaxYamlBytes + 1, ' '), "p.yaml").plan);
  std::string deep = "version: 1\nname: ";
  deep += std::string(100, '[') + std::string(100, ']');
  EXPECT_THAT(messages(parse_plan(deep, "p.yaml")), HasSubstr("nested deeper than 64"));
}

// complete.yaml is the plan's reference: it must name every key the schema knows, and only those.
void keys_of_schema(const nlohmann::json& schema, std::set<std::string>& keys, int depth = 0) {
  if (!schema.is_object() || depth > 20) return;
  if (schema.contains("$ref")) {
    keys_of_schema(
        plan_schema().at(nlohmann::json::json_pointer(schema["$ref"].get<std::string>().substr(1))),
        keys, depth + 1);
  }
  if (schema.contains("properties") && !schema.value("x-hyper-secret", false)) {
    for (const auto& [key, part] : schema["properties"].items()) {
      keys.insert(key);
      EXPECT_TRUE(part.contains("description") || part.contains("$ref")) << key;
      keys_of_schema(part, keys, depth + 1);
    }
  }
  for (const char* list : {"anyOf", "oneOf"}) {
    if (schema.contains(list)) {
      for (const auto& part : schema[list]) keys_of_schema(part, keys, depth + 1);
    }
  }
  for (const char* one : {"items", "additionalProperties"}) {
    if (schema.contains(one)) keys_of_schema(schema[one], keys, depth + 1);
  }
}

void keys_of_value(const ConfigValue& value, std::set<std::string>& keys) {
  if (value.sequence() != nullptr) {
    for (const ConfigValue& item : *value.sequence()) keys_of_value(item, keys);
  }
  if (value.members() != nullptr) {
    for (const auto& member : *value.members()) {
      keys.insert(member.key);
      keys_of_value(member.value, keys);
    }
  }
}

TEST(Plan, TheTargetOfAMigrationJoinsThatOfTheDefaults) {
  const PlanResult result = parse_plan(
      "version: 1\nproviders: {shelf: {plugin: local-ovf, path: /srv}}\noutput_dir: /out\n"
      "defaults:\n"
      "  guest: {machine: {bus: scsi}}\n"
      "  target: {plugin: acme, options: {url: x}, networks: {a: one, b: two}, name: 'p-{name}',\n"
      "           machine: {cpus: 2, nic: e1000}}\n"
      "migrations:\n"
      "  - {vm: v, provider: shelf, target: {networks: {b: three}, machine: {cpus: 8}}}\n"
      "  - {vm: w, provider: shelf, target: {plugin: other}}\n"
      "  - {vm: x, provider: shelf, target: false}\n"
      "  - {vm: y, provider: shelf}\n",
      "plan.yaml");
  ASSERT_TRUE(result.plan) << messages(result);
  const auto& all = result.plan->migrations;
  EXPECT_EQ(all[0].target_plugin.plugin, "acme");
  EXPECT_EQ(all[0].target_plugin.pointer, "/defaults/target/options");
  EXPECT_EQ(all[0].target.networks,
            (std::map<std::string, std::string>{{"a", "one"}, {"b", "three"}}));
  EXPECT_EQ(all[0].target.name, "p-{name}");
  EXPECT_EQ(all[0].target.machine.cpus, 8u);
  EXPECT_EQ(all[0].target.machine.nic, "e1000");
  EXPECT_EQ(all[0].target.machine.bus, "scsi");  // that the guest is prepared for
  EXPECT_EQ(all[0].guest.machine.cpus, 8u);
  EXPECT_EQ(all[1].target_plugin.plugin, "other");
  EXPECT_TRUE(all[1].target_plugin.options.members()->empty());  // acme's are not for it
  EXPECT_FALSE(all[2].target.wanted);
  EXPECT_TRUE(all[3].target.wanted);
  EXPECT_FALSE(all[3].target.by_default);
}

TEST(Plan, WithoutATargetThereIsTheDefaultOne) {
  const std::string plan =
      "version: 1\nproviders: {shelf: {plugin: local-ovf, path: /srv}}\noutput_dir: /out\n"
      "migrations: [{vm: v, provider: shelf}]\n";
  const PlanResult result = parse_plan(plan, "plan.yaml");
  ASSERT_TRUE(result.plan) << messages(result);
  EXPECT_TRUE(result.plan->migrations[0].target.wanted);
  EXPECT_TRUE(result.plan->migrations[0].target.by_default);
  EXPECT_EQ(result.plan->migrations[0].target_plugin.plugin, "");
  EXPECT_THAT(messages(parse_plan(plan + "defaults: {target: {machine: {cpu_model: \"a'b\"}}}\n",
                                  "plan.yaml")),
              HasSubstr("cpu_model"));
}

TEST(Plan, TheReferenceNamesEveryKey) {
  std::set<std::string> known, written;
  keys_of_schema(plan_schema(), known);
  std::vector<Diagnostic> problems;
  const auto tree = read_yaml(read_file(kExamples / "complete.yaml"), "complete.yaml", problems);
  ASSERT_TRUE(tree);
  keys_of_value(*tree, written);
  EXPECT_GT(known.size(), 60u);
  for (const std::string& key : known)
    EXPECT_TRUE(written.contains(key)) << key << " is not in complete.yaml";
}

TEST(Plan, TheSchemaStaysWithinItsOwnEngine) {
  EXPECT_THAT(check_schema(plan_schema()), testing::IsEmpty());
  EXPECT_EQ(plan_schema_text(), read_file(HYPERHOST_SOURCE_DIR "/configs/plan.schema.json"));
}

}  // namespace
}  // namespace hyperhost
