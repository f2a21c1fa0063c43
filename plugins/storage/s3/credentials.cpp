// SPDX-License-Identifier: Apache-2.0
#include "plugins/storage/s3/credentials.hpp"

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "plugins/http/errors.hpp"

namespace hyper::s3 {
namespace {

using nlohmann::json;

constexpr std::time_t kEarly = 300;  // seconds before they expire that others are fetched
constexpr std::size_t kLargestFile = 1u << 20;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

std::string trimmed(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0)
    text.pop_back();
  std::size_t begin = 0;
  while (begin < text.size() && std::isspace(static_cast<unsigned char>(text[begin])) != 0) ++begin;
  return text.substr(begin);
}

std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kLargestFile, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

std::string shared_file(const char* variable, const char* name) {
  const std::string said = environment(variable);
  return !said.empty() ? said : environment("HOME") + "/.aws/" + name;
}

/// "2026-11-25T01:02:03Z"; 0 where it is anything else.
std::time_t parse_time(const std::string& text) {
  std::tm parts{};
  if (::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts) == nullptr) return 0;
  return ::timegm(&parts);
}

std::string member(const json& document, const char* name) {
  const auto found = document.find(name);
  return found != document.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// The answer of the container's or instance's metadata.
std::optional<AwsCredentials> parse_answer(const std::string& text, const std::string& source) {
  const json answer = json::parse(text, nullptr, false);
  if (!answer.is_object()) return std::nullopt;
  AwsCredentials out;
  out.access_key = member(answer, "AccessKeyId");
  out.secret_key = member(answer, "SecretAccessKey");
  out.session_token = member(answer, "Token");
  out.expires = parse_time(member(answer, "Expiration"));
  out.source = source;
  if (out.access_key.empty() || out.secret_key.empty()) return std::nullopt;
  return out;
}

http::Settings metadata_settings() {
  http::Settings settings;
  settings.connect_timeout = std::chrono::milliseconds(1000);
  settings.stall_timeout = std::chrono::milliseconds(5000);
  return settings;
}

/// A token for secrets goes only to this machine, to the container agents' own addresses, or
/// through TLS.
bool may_be_asked(const std::string& url) {
  if (url.rfind("https://", 0) == 0) return true;
  if (url.rfind("http://", 0) != 0) return false;
  const std::string rest = url.substr(7);
  const std::string authority = rest.substr(0, rest.find('/'));
  if (authority.find('@') != std::string::npos) return false;
  const std::string host = authority.rfind('[', 0) == 0
                               ? authority.substr(0, authority.find(']') + 1)
                               : authority.substr(0, authority.find(':'));
  for (const char* known :
       {"localhost", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"})
    if (host == known) return true;
  return host.rfind("127.", 0) == 0 && host.find_first_not_of("0123456789.") == std::string::npos;
}

}  // namespace

std::optional<Profile> parse_profile(const std::string& text, const std::string& name,
                                     bool config) {
  std::istringstream lines(text);
  std::optional<Profile> out;
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    const bool nested = !line.empty() && (line[0] == ' ' || line[0] == '\t');
    line = trimmed(line);
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line[0] == '[') {
      std::string section = trimmed(line.substr(1, line.find(']') - 1));
      if (config && section.rfind("profile ", 0) == 0)
        section = trimmed(section.substr(8));
      else if (config && section != "default")
        section.clear();
      inside = !section.empty() && section == name;
      if (inside && !out) out.emplace();
      continue;
    }
    const std::size_t equals = line.find('=');
    if (!inside || nested || equals == std::string::npos) continue;
    const std::string key = trimmed(line.substr(0, equals)),
                      value = trimmed(line.substr(equals + 1));
    if (key == "aws_access_key_id") out->access_key = value;
    if (key == "aws_secret_access_key") out->secret_key = value;
    if (key == "aws_session_token") out->session_token = value;
    if (key == "region") out->region = value;
  }
  return out;
}

CredentialChain::CredentialChain(Options options)
    : options_(std::move(options)), client_(metadata_settings()) {}

void CredentialChain::renew() {
  const std::lock_guard lock(mutex_);
  if (current_ && current_->expires != 0) current_.reset();
}

AwsCredentials CredentialChain::get(const http::Cancel& cancel) {
  if (options_.anonymous) return {};
  if (!options_.given.access_key.empty()) return options_.given;
  const std::lock_guard lock(mutex_);
  const bool fresh =
      current_ && (current_->expires == 0 || current_->expires - kEarly > std::time(nullptr));
  if (fresh) return *current_;
  auto found = from_environment();
  if (!found) found = from_profile();
  if (!found) found = from_container(cancel);
  if (!found) found = from_instance(cancel);
  if (!found)
    throw Error(HYPER_AUTH, "no credentials for S3 were found",
                "asked: the plan, AWS_ACCESS_KEY_ID, the profile '" + options_.profile +
                    "' in ~/.aws, the container's and the instance's metadata")
        .hint(
            "set access_key_id, and secret_access_key as "
            "{env: NAME} or {file: PATH}, in the plan's storage options")
        .at("/access_key_id");
  current_ = std::move(found);
  return *current_;
}

std::optional<AwsCredentials> CredentialChain::from_environment() const {
  AwsCredentials out;
  out.access_key = environment("AWS_ACCESS_KEY_ID");
  out.secret_key = environment("AWS_SECRET_ACCESS_KEY");
  out.session_token = environment("AWS_SESSION_TOKEN");
  out.source = "the environment";
  // A profile that was asked for by name is meant.
  if (!options_.profile.empty() || out.access_key.empty() || out.secret_key.empty())
    return std::nullopt;
  return out;
}

std::optional<Profile> CredentialChain::profile() const {
  std::string name = options_.profile;
  if (name.empty()) name = environment("AWS_PROFILE");
  if (name.empty()) name = "default";
  auto secret = parse_profile(file_text(shared_file("AWS_SHARED_CREDENTIALS_FILE", "credentials")),
                              name, false);
  auto config = parse_profile(file_text(shared_file("AWS_CONFIG_FILE", "config")), name, true);
  if (!secret) return config;
  if (config && secret->access_key.empty()) {
    secret->access_key = config->access_key;
    secret->secret_key = config->secret_key;
    secret->session_token = config->session_token;
  }
  if (config && secret->region.empty()) secret->region = config->region;
  return secret;
}

std::optional<AwsCredentials> CredentialChain::from_profile() const {
  const auto found = profile();
  if (found && !found->access_key.empty() && !found->secret_key.empty())
    return AwsCredentials{found->access_key, found->secret_key, found->session_token, 0,
                          "the profile in ~/.aws"};
  if (!options_.profile.empty())
    throw Error(HYPER_AUTH, "the profile '" + options_.profile +
                                "' has no keys in the shared credentials or config file")
        .at("/profile");
  return std::nullopt;
}

std::string CredentialChain::region() const {
  for (const char* name : {"AWS_REGION", "AWS_DEFAULT_REGION"})
    if (std::string said = environment(name); !said.empty()) return said;
  const auto found = profile();
  return found ? found->region : std::string();
}

std::optional<AwsCredentials> CredentialChain::from_container(const http::Cancel& cancel) {
  std::string url = environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  if (const std::string path = environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); !path.empty())
    url = "http://169.254.170.2" + path;
  if (url.empty()) return std::nullopt;
  if (!may_be_asked(url))
    throw Error(HYPER_AUTH,
                "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor on this machine");
  http::Request request;
  request.url = url;
  std::string token = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  if (const std::string file = environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); !file.empty())
    token = trimmed(file_text(file));
  if (!token.empty()) request.headers.emplace_back("Authorization", token);
  const http::Response answer = client_.send(request, cancel);
  auto found = answer.ok() ? parse_answer(answer.body, "the container's metadata") : std::nullopt;
  if (!found)
    throw Error(HYPER_AUTH, "the container's metadata gives no credentials",
                "HTTP " + std::to_string(answer.status))
        .native(answer.status);
  return found;
}

std::optional<AwsCredentials> CredentialChain::from_instance(const http::Cancel& cancel) {
  if (environment("AWS_EC2_METADATA_DISABLED") == "true") return std::nullopt;
  std::string base = environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
  if (base.empty()) base = "http://169.254.169.254";
  while (base.back() == '/') base.pop_back();
  try {
    http::Request token;
    token.method = "PUT";
    token.url = base + "/latest/api/token";
    token.headers = {{"X-aws-ec2-metadata-token-ttl-seconds", "21600"}};
    const http::Response session = client_.send(token, cancel);
    if (!session.ok()) return std::nullopt;
    http::Request request;
    request.headers = {{"X-aws-ec2-metadata-token", session.body}};
    request.url = base + "/latest/meta-data/iam/security-credentials/";
    const http::Response roles = client_.send(request, cancel);
    const std::string role = trimmed(roles.body.substr(0, roles.body.find('\n')));
    if (!roles.ok() || role.empty()) return std::nullopt;
    request.url += role;
    const http::Response answer = client_.send(request, cancel);
    return answer.ok() ? parse_answer(answer.body, "the instance's metadata") : std::nullopt;
  } catch (const Error&) {  // no answer: this is no such machine
    return std::nullopt;
  }
}

}  // namespace hyper::s3
