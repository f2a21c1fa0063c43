// SPDX-License-Identifier: Apache-2.0
#include "core/check/run.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <exception>
#include <filesystem>
#include <map>
#include <mutex>

#include "core/check/guarded_buffer.hpp"
#include "core/check/option_values.hpp"
#include "core/check/resources.hpp"
#include "core/check/traces.hpp"
#include "core/plugin/elf_section.hpp"
#include "core/plugin/isolation/isolated_plugin.hpp"
#include "core/plugin/registry.hpp"

namespace hyperhost::check {
namespace {

// For the handlers of a process that is about to end; another thread may be in at() just then.
int words_fd = -1;
std::array<std::atomic<char>, 256> current_call{};
std::mutex line_mutex;  // of the writers

[[noreturn]] void on_terminate() {
  std::string what = "an exception";
  try {
    if (const std::exception_ptr thrown = std::current_exception()) std::rethrow_exception(thrown);
    what = "the end of the program (std::terminate)";
  } catch (const std::exception& error) {
    what += " (" + std::string(error.what()) + ")";
  } catch (...) {
    what += " of unknown type";
  }
  Run::last_words((what + " came out of the plugin").c_str());
  ::_exit(3);
}

void replace_text(nlohmann::json& value, const std::string& from, const std::string& to) {
  if (value.is_string() && value == from) value = to;
  if (!value.is_structured()) return;
  for (auto& member : value) replace_text(member, from, to);
}

}  // namespace

Run::Run(const Settings& settings, std::string scratch, int out_fd)
    : settings_(settings), scratch_(std::move(scratch)) {
  words_fd = out_fd;
}

Run::~Run() = default;

void Run::line(const nlohmann::json& json) {
  const std::string text =
      json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  const std::lock_guard lock(line_mutex);
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t wrote = ::write(words_fd, text.data() + at, text.size() - at);
    if (wrote <= 0) return;
    at += static_cast<std::size_t>(wrote);
  }
}

void Run::last_words(const char* finding) noexcept {
  // Async-signal-safe: no allocation, no lock. Quotes would end the JSON string.
  char text[512];
  std::size_t length = 0;
  const auto add = [&](const char* part, bool escape) {
    for (; *part != '\0' && length < sizeof text - 8; ++part)
      text[length++] = escape && (*part == '"' || *part == '\\' || *part < ' ') ? '\'' : *part;
  };
  add("\n{\"fail\":\"", false);
  add(finding, true);
  char call[current_call.size()];
  std::copy(current_call.begin(), current_call.end(), call);
  if (call[0] != '\0') {
    add(", in ", false);
    add(call, true);
  }
  add("\",\"done\":true}\n", false);
  static_cast<void>(::write(words_fd, text, length));
}

void Run::at(const std::string& call) {
  {
    const std::lock_guard lock(line_mutex);
    const std::size_t length = std::min(call.size(), current_call.size() - 1);
    std::copy_n(call.data(), length, current_call.begin());
    current_call[length] = '\0';
  }
  line({{"at", call}});
}

void Run::fail(const std::string& finding) {
  line({{"fail", finding}});
}
void Run::note(const std::string& text) {
  line({{"note", text}});
}
void Run::done() {
  if (settings_.step.empty()) line({{"done", true}});
}

std::vector<std::string> Run::child_arguments(const std::string& name,
                                              const std::string& step) const {
  Settings settings = settings_;
  settings.step = step;
  return check::child_arguments(settings, name, scratch_);
}

int Run::words() const {
  return words_fd;
}

void Run::stop(const std::string& finding) {
  fail(finding);
  throw CaseEnded();
}

void Run::skip(const std::string& reason) {
  line({{"skip", reason}});
  throw CaseEnded();
}

void Run::expect_error(const std::string& what, const std::function<void()>& f,
                       std::initializer_list<Code> codes) {
  try {
    f();
  } catch (const Error& error) {
    expect(std::string(error.what()).find("gave no reason") == std::string::npos,
           what + " fails without a report(): a user would not know why");
    std::string wanted;
    for (const Code code : codes)
      wanted += (wanted.empty() ? "" : " or ") + std::string(code_name(code));
    expect(codes.size() == 0 || std::find(codes.begin(), codes.end(), error.code()) != codes.end(),
           what + " fails with '" + code_name(error.code()) + "' and should with '" + wanted +
               "' (" + error.what() + ")");
    return;
  }
  fail(what + " succeeds and must fail");
}

const nlohmann::json& Run::manifest() {
  if (!manifest_) {
    const std::string section =
        read_elf_section(settings_.file, HYPER_MANIFEST_SECTION).value_or("");
    manifest_ = nlohmann::json::parse(section.substr(0, section.find('\0')), nullptr, false);
    if (!manifest_->is_object()) manifest_ = nlohmann::json::object();
  }
  return *manifest_;
}

bool Run::offers(const char* iface) {
  const auto found = manifest().find("interfaces");
  return found != manifest().end() && found->is_array() &&
         std::find(found->begin(), found->end(), iface) != found->end();
}

Options Run::options(const char* iface) {
  // Made up once: a secret that is new each time would be one more to remember each time.
  static std::map<std::string, Options> made;
  if (const auto found = made.find(iface); found != made.end()) return found->second;
  try {
    return made[iface] = option_values(manifest(), iface, settings_.options_file, scratch_);
  } catch (const Error& error) {
    if (options_were_given()) stop(std::string("the given options are not right: ") + error.what());
    skip(std::string(error.what()) + "; give some with --options FILE");
  }
}

std::string Run::made_directory(const char* iface) {
  if (options_were_given()) return {};
  const std::string path =
      scratch_ + (std::string(iface) == HYPER_IFACE_STORAGE ? "/store" : "/disks");
  const std::string all = options(iface).value().dump();
  return all.find(nlohmann::json(path).dump()) == std::string::npos ? std::string() : path;
}

Options Run::options_at(const char* iface, const std::string& path) {
  nlohmann::json value = options(iface).value();
  replace_text(value, made_directory(iface), path);
  return Options(std::move(value));
}

Plugin& Run::plugin() {
  if (!plugin_) {
    at("start()");
    try {
      const std::string id = manifest().value("id", "");
      plugin_ = settings_.isolated ? isolation::load_isolated(settings_.file, id,
                                                              {0, environment_of(manifest()), {}})
                                   : Plugin::load(settings_.file, id, watching_host(*this));
    } catch (const Error& error) {
      stop(error.what());
    }
  }
  return *plugin_;
}

void Run::not_connected(const Error& error) {
  switch (error.code()) {
    case Code::kNotFound:
    case Code::kIo:
    case Code::kAuth:
    case Code::kBusy:
    case Code::kConfig:
    case Code::kCancelled:
      if (!options_were_given())
        skip(std::string("not connected: ") + error.what() + "; give options with --options FILE");
      [[fallthrough]];
    default:
      stop(std::string("connect() fails: ") + error.what());
  }
}

std::unique_ptr<ProviderHandle> Run::connect_provider(Operation& op) {
  const Options chosen = options(HYPER_IFACE_PROVIDER);
  Plugin& subject = plugin();
  at("connect()");
  try {
    return std::make_unique<ProviderHandle>(subject, chosen, op);
  } catch (const Error& error) {
    not_connected(error);
  }
}

std::unique_ptr<StorageHandle> Run::connect_storage(Operation& op) {
  const Options chosen = options(HYPER_IFACE_STORAGE);
  Plugin& subject = plugin();
  at("connect()");
  try {
    auto storage = std::make_unique<StorageHandle>(subject, chosen, op);
    at("info()");
    static_cast<void>(storage->info(op));
    return storage;
  } catch (const Error& error) {
    not_connected(error);
  }
}

std::vector<std::shared_ptr<ImageReader>> Run::readers() {
  std::vector<std::shared_ptr<ImageReader>> out;
  if (offers(HYPER_IFACE_IMAGE))
    out.push_back(std::make_shared<ImageReader>(plugin(), options(HYPER_IFACE_IMAGE)));
  if (!registry_) {
    std::vector<SearchDir> dirs;
    for (const std::string& dir : settings_.plugin_dirs)
      dirs.push_back({dir, "--plugin-dir", true});
    registry_ = std::make_unique<PluginRegistry>(PluginRegistry::search_path(std::move(dirs)));
  }
  for (const std::string& id : registry_->ids_with(HYPER_IFACE_IMAGE)) {
    if (id == manifest().value("id", "")) continue;
    try {
      out.push_back(std::make_shared<ImageReader>(registry_->load(id), Options()));
    } catch (const Error&) {  // a reader that does not start here is one reader less
      continue;
    }
  }
  return out;
}

namespace {
std::shared_ptr<Journal>& kept_journal() {
  static std::shared_ptr<Journal> journal;
  return journal;
}

/// Programs, and the plugin, put temporary files here; at the end there must be none.
std::string temporary_directory(const std::string& scratch) {
  std::string path = scratch + "/tmp";
  std::filesystem::create_directories(path);
  ::setenv("TMPDIR", path.c_str(), 1);
  return path;
}
}  // namespace

void keep_journal(std::shared_ptr<Journal> journal) {
  kept_journal() = std::move(journal);
}

Operation operation(const std::string& name, std::shared_ptr<CancelSource> cancel) {
  static std::atomic<unsigned> count{0};  // names tell operations apart, addresses are used again
  return Operation(name + " #" + std::to_string(++count),
                   cancel ? std::move(cancel) : CancelSource::create(),
                   OperationServices{kept_journal()});
}

int run_case(const Settings& settings, const std::string& name, const std::string& scratch) {
  // What the plugin prints must not pass for a finding; printing is one.
  const int words = ::fcntl(1, F_DUPFD_CLOEXEC, 3);
  const std::string printed = scratch + "/stdout" + settings.step;
  const std::string temporary = temporary_directory(scratch);
  const int catcher =
      ::open(printed.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (words < 0 || catcher < 0 || ::dup2(catcher, 1) < 0)
    throw errno_error(errno, "prepare " + scratch);
  ::close(catcher);
  GuardedBuffer::catch_accesses();
  std::set_terminate(on_terminate);
  const auto found = std::find_if(cases().begin(), cases().end(),
                                  [&](const Case& one) { return name == one.name; });
  if (found == cases().end()) throw Error(Code::kConfig, "there is no case '" + name + "'");
  {
    Run run(settings, scratch, words);
    try {
      found->run(run);
      std::error_code error;
      run.expect(std::filesystem::file_size(printed, error) == 0,
                 "it writes to standard output, which carries the host's report");
      run.at("stop()");
    } catch (const CaseEnded&) {
    } catch (const std::exception& error) {
      run.fail(error.what());
    }
  }
  Run end(settings, scratch, words);  // after the plugin's stop()
  // LeakSanitizer cannot look at its process from inside a PID namespace without a /proc of its
  // own.
  if (settings.step.empty()) expect_no_leaks(end);
  if (const std::string left = changes({}, files_below(temporary)); !left.empty())
    end.fail("it leaves temporary files behind after stop(): " + left);
  end.done();
  ::_exit(0);  // the plugin's destructors at exit are not tested here
}

}  // namespace hyperhost::check
