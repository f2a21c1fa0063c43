// SPDX-License-Identifier: Apache-2.0
// What a case of the conformance suite works with, in its own process: findings on their way to the
// parent, the plugin under test behind a host that watches, its options, a scratch directory.
// One Run a process; fail(), note() and at() from any thread, the rest from the case's.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>

#include "core/check/check.hpp"
#include "core/plugin/handles.hpp"
#include "core/plugin/registry.hpp"

namespace hyperhost::check {

/// Ends a case; what there is to say has been said.
struct CaseEnded {};

class Run {
 public:
  Run(const Settings& settings, std::string scratch, int out_fd);
  ~Run();

  /// Names the call that is about to be made; a crash or a hang is reported with it.
  void at(const std::string& call);
  void fail(const std::string& finding);
  void note(const std::string& text);
  [[noreturn]] void stop(const std::string& finding);
  [[noreturn]] void skip(const std::string& reason);
  void require(bool holds, const std::string& finding) {
    if (!holds) stop(finding);
  }
  void expect(bool holds, const std::string& finding) {
    if (!holds) fail(finding);
  }
  /// Runs f, which must throw an Error that the plugin reported, with one of these codes (any, if
  /// none are given).
  void expect_error(const std::string& what, const std::function<void()>& f,
                    std::initializer_list<Code> codes = {});

  const Settings& settings() const { return settings_; }
  const std::string& scratch() const { return scratch_; }
  const nlohmann::json& manifest();
  bool offers(const char* iface);

  /// Options for that interface: of the options' file, of the manifest's "check", or made up from
  /// the schema. Skips the case where they cannot be made up.
  Options options(const char* iface);
  bool options_were_given() const { return !settings_.options_file.empty(); }
  /// The directory that the suite made for the plugin's path option; "" where it made none.
  std::string made_directory(const char* iface);
  /// The same options with another place instead of made_directory().
  Options options_at(const char* iface, const std::string& path);

  /// The plugin, loaded and started with the watching host.
  Plugin& plugin();
  /// Connects, or skips the case where what it connects to is not there.
  std::unique_ptr<ProviderHandle> connect_provider(Operation& op);
  std::unique_ptr<StorageHandle> connect_storage(Operation& op);
  /// Image readers for a result: the plugin's own first, then any other that is installed.
  std::vector<std::shared_ptr<ImageReader>> readers();

  /// The last finding a crashing process writes; async-signal-safe.
  static void last_words(const char* finding) noexcept;
  /// What the case did, for the parent: it ended by itself.
  void done();
  /// The program and its arguments for a step of a case, in this scratch directory.
  std::vector<std::string> child_arguments(const std::string& name, const std::string& step) const;
  /// Where a step writes its findings, as its standard output.
  int words() const;

 private:
  void line(const nlohmann::json& json);
  [[noreturn]] void not_connected(const Error& error);
  const Settings& settings_;
  const std::string scratch_;
  std::optional<nlohmann::json> manifest_;
  std::unique_ptr<Plugin> plugin_;
  std::unique_ptr<PluginRegistry> registry_;
  std::unique_ptr<CaseResult> unused_;
};

/// An operation that is never cancelled, unless `cancel` is given. Its journal: keep_journal() of
/// traces.hpp, or none.
Operation operation(const std::string& name, std::shared_ptr<CancelSource> cancel = nullptr);

/// The host that watches: real services, but secrets in logs and reports and progress that goes
/// back or beyond the total are findings.
const hyper_host* watching_host(Run& run);
/// This text must never come back from the plugin.
void watch_secret(const std::string& secret);

struct Case {
  const char* name;
  const char* what;   ///< what holds when it passes
  const char* iface;  ///< only for plugins that offer it; nullptr = for all
  int seconds;        ///< its time limit
  void (*run)(Run& run);
  bool deep = false;  ///< only with --deep
};
const std::vector<Case>& cases();
/// The program and its arguments that run a case in a process of its own.
std::vector<std::string> child_arguments(const Settings& settings, const std::string& name,
                                         const std::string& scratch);

// The cases, by file.
void case_static(Run& run);
void case_manifest(Run& run);
void case_load(Run& run);
void case_greeting(Run& run);
void case_old_host(Run& run);
void case_future_host(Run& run);
void case_interfaces(Run& run);
void case_start_stop(Run& run);
void case_options(Run& run);
void case_refusals(Run& run);
void case_provider(Run& run);
void case_provider_description(Run& run);
void case_provider_cancel(Run& run);
void case_provider_again(Run& run);
void case_provider_kill(Run& run);
void case_image(Run& run);
void case_image_damaged(Run& run);
void case_image_again(Run& run);
void case_converter_plan(Run& run);
void case_converter(Run& run);
void case_converter_failures(Run& run);
void case_converter_cancel(Run& run);
void case_converter_again(Run& run);
void case_converter_resume(Run& run);
void case_converter_large(Run& run);
void case_guest(Run& run);
void case_guest_prepare(Run& run);
void case_guest_cancel(Run& run);
void case_boot(Run& run);
void case_boot_cancel(Run& run);
void case_target(Run& run);
void case_target_disks(Run& run);
void case_target_cancel(Run& run);
void case_storage(Run& run);
void case_storage_place(Run& run);
void case_storage_keys(Run& run);
void case_storage_sinks(Run& run);
void case_storage_abort(Run& run);
void case_storage_again(Run& run);
void case_storage_kill(Run& run);

}  // namespace hyperhost::check
