// SPDX-License-Identifier: Apache-2.0
#include "core/config/secret.hpp"
#include "core/base/text.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <system_error>

#include "core/config/read_yaml.hpp"

namespace hyperhost {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

class Resolver {
 public:
  Resolver(const SecretContext& context, std::vector<Diagnostic>& problems)
      : context_(context), problems_(problems) {}

  nlohmann::json node(const ConfigValue& value, const std::string& pointer) {
    if (value.reference() != nullptr) return text(value, pointer).value_or(std::string());
    if (const auto* sequence = value.sequence()) {
      nlohmann::json json = nlohmann::json::array();
      for (size_t i = 0; i < sequence->size(); ++i) {
        json.push_back(node((*sequence)[i], pointer_join(pointer, i)));
      }
      return json;
    }
    if (const auto* members = value.members()) {
      nlohmann::json json = nlohmann::json::object();
      for (const auto& member : *members) {
        json[member.key] = node(member.value, pointer_join(pointer, member.key));
      }
      return json;
    }
    return value.to_json();
  }

  std::optional<std::string> text(const ConfigValue& value, const std::string& pointer) {
    at_ = &value.mark();
    pointer_ = &pointer;
    const SecretReference& reference = *value.reference();
    const bool env = reference.source == SecretReference::Source::kEnvironment;
    std::optional<std::string> secret = env ? variable(reference.name) : file(reference.name);
    if (!secret) return std::nullopt;
    const std::string what = (env ? "the environment variable " : "the file ") + reference.name;
    if (secret->ends_with('\n')) secret->pop_back();
    if (secret->ends_with('\r')) secret->pop_back();
    if (secret->empty()) return fail(Code::kConfig, what + " is empty");
    if (find_invalid_utf8(*secret) != std::string::npos) {
      return fail(Code::kConfig, what + " does not hold UTF-8 text");
    }
    if (!context_.redactor->add(*secret)) {
      say(Severity::kWarning, Code::kConfig,
          what + " holds fewer than " + std::to_string(Redactor::kMinimumBytes) +
              " bytes: too few to be removed from logs");
    }
    return secret;
  }

  bool failed() const { return failed_; }

 private:
  void say(Severity severity, Code code, std::string summary, std::string hint = {}) {
    Diagnostic diagnostic;
    diagnostic.severity = severity;
    diagnostic.code = code;
    diagnostic.where = at_->where();
    diagnostic.path = *pointer_;
    diagnostic.summary = std::move(summary);
    diagnostic.hint = std::move(hint);
    problems_.push_back(std::move(diagnostic));
  }

  std::nullopt_t fail(Code code, std::string summary, std::string hint = {}) {
    failed_ = true;
    say(Severity::kError, code, std::move(summary), std::move(hint));
    return std::nullopt;
  }

  std::optional<std::string> variable(const std::string& name) {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) {
      return fail(Code::kNotFound, "the environment variable " + name + " is not set",
                  "export " + name + " before the run");
    }
    return std::string(value);
  }

  std::optional<std::string> file(const std::string& name) {
    std::filesystem::path path(name);
    if (path.is_relative() && !context_.base_dir.empty()) path = context_.base_dir / path;
    // O_NONBLOCK: opening a FIFO without a writer must not hang.
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat status {};
    if (fd.get() < 0 || ::fstat(fd.get(), &status) != 0) return fail_errno(path, errno);
    if (!S_ISREG(status.st_mode)) {
      return fail(Code::kConfig, "the secret's file " + path.string() + " is not a regular file");
    }
    if ((status.st_mode & S_IROTH) != 0) {
      say(Severity::kWarning, Code::kAuth,
          "the secret's file " + path.string() + " can be read by everyone on this host",
          "chmod 600 it");
    }
    std::string text;
    char buffer[4096];
    for (;;) {
      const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail_errno(path, errno);
      if (got == 0) return text;
      text.append(buffer, static_cast<size_t>(got));
      if (text.size() > kMaxSecretBytes) {
        return fail(Code::kConfig, "the secret's file " + path.string() + " is larger than 1 MiB");
      }
    }
  }

  std::nullopt_t fail_errno(const std::filesystem::path& path, int error) {
    const Error mapped = errno_error(error, "read");
    return fail(mapped.code(), "the secret's file " + path.string() +
                                   " cannot be read: " + std::system_category().message(error));
  }

  const SecretContext& context_;
  std::vector<Diagnostic>& problems_;
  const Mark* at_ = nullptr;
  const std::string* pointer_ = nullptr;
  bool failed_ = false;
};

}  // namespace

std::optional<nlohmann::json> resolve_secrets(const ConfigValue& options,
                                              const std::string& pointer,
                                              const SecretContext& context,
                                              std::vector<Diagnostic>& problems) {
  Resolver resolver(context, problems);
  nlohmann::json json = resolver.node(options, pointer);
  if (resolver.failed()) return std::nullopt;
  return json;
}

std::optional<std::string> resolve_text(const ConfigValue& value, const std::string& pointer,
                                        const SecretContext& context,
                                        std::vector<Diagnostic>& problems) {
  if (const std::string* plain = value.string()) return *plain;
  return Resolver(context, problems).text(value, pointer);
}

}  // namespace hyperhost
