// SPDX-License-Identifier: Apache-2.0
#include "hosts/hyperhost/source_flags.hpp"

#include <cstdlib>
#include <string_view>

namespace hyperhost {
namespace {

constexpr const char* kDefaultProvider = "vsphere";

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string provider_of(const SourceFlags& flags) {
  if (!flags.provider.empty()) return flags.provider;
  return flags.path.empty() ? kDefaultProvider : "local-ovf";
}

/// What the govc client takes for true.
bool is_true(const std::string& text) {
  return text == "1" || text == "t" || text == "T" || text == "true" || text == "TRUE" ||
         text == "True";
}

std::string percent_decoded(const std::string& text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool code =
        text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0;
    out += code ? static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])) : text[i];
    if (code) i += 2;
  }
  return out;
}

/// https://USER:PASSWORD@HOST/sdk, as GOVC_URL may have it, in its parts. The password goes where
/// GOVC_PASSWORD would be, so that the plan only names it.
void split_login(std::string& endpoint, std::string& user) {
  const std::size_t scheme = endpoint.find("://");
  const std::size_t host = scheme == std::string::npos ? 0 : scheme + 3;
  const std::size_t at = endpoint.rfind('@', endpoint.find_first_of("/?#", host));
  if (at == std::string::npos || at < host) return;
  const std::string login = endpoint.substr(host, at - host);
  endpoint.erase(host, at + 1 - host);
  const std::size_t colon = login.find(':');
  if (user.empty()) user = percent_decoded(login.substr(0, colon));
  if (colon != std::string::npos)
    ::setenv("GOVC_PASSWORD", percent_decoded(login.substr(colon + 1)).c_str(), 0);
}

}  // namespace

PlanFlag option_flag(const std::string& flag, const std::string& prefix,
                     const std::string& argument) {
  const std::size_t equals = argument.find('=');
  if (equals == 0 || equals == std::string::npos)
    throw Error(Code::kConfig, flag + ": this is not KEY=VALUE", "",
                "e.g. " + flag + " path=/srv/exports");
  const std::string key = prefix + argument.substr(0, equals);
  const std::string value = argument.substr(equals + 1);
  if (is_secret_reference(value)) return secret_flag(flag, key, value);
  return {flag, key, value};
}

void add_source_flags(CLI::App& app, SourceFlags& flags) {
  const char* const group = "Source";
  app.add_option("--path", flags.path, "local-ovf: an OVA, OVF or disk image, or a directory")
      ->group(group);
  app.add_option("--endpoint", flags.endpoint, "vsphere: https://HOST/sdk (default: $GOVC_URL)")
      ->group(group);
  app.add_option("--username", flags.username, "vsphere: the login (default: $GOVC_USERNAME)")
      ->group(group);
  app.add_option("--password", flags.password,
                 "env:NAME or file:PATH (default: env:GOVC_PASSWORD where that is set)")
      ->group(group);
  app.add_option("--ca-file", flags.ca_file, "vsphere: PEM file of the certificate authority")
      ->group(group);
  app.add_option("--provider-option", flags.options,
                 "KEY=VALUE, any other option of the plugin (repeatable); a secret as\n"
                 "KEY=env:NAME or KEY=file:PATH")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
}

void add_source(const SourceFlags& flags, std::vector<PlanFlag>& plan) {
  const std::string provider = provider_of(flags);
  const bool vsphere = provider == kDefaultProvider;
  plan.push_back(text_flag("--provider", "providers.source.plugin", provider));
  const auto text = [&](const char* flag, const char* key, const std::string& value) {
    if (!value.empty())
      plan.push_back(text_flag(flag, "providers.source." + std::string(key), value));
  };
  const auto given_or = [&](const std::string& given, const std::string& otherwise) {
    return given.empty() && vsphere ? otherwise : given;
  };
  if (!flags.path.empty()) text("--path", "path", absolute_path(flags.path));
  std::string endpoint = given_or(flags.endpoint, variable("GOVC_URL"));
  std::string user = flags.username;
  split_login(endpoint, user);
  text(flags.endpoint.empty() ? "GOVC_URL" : "--endpoint", "endpoint", endpoint);
  text("--username", "username", given_or(user, variable("GOVC_USERNAME")));
  if (!flags.password.empty())
    plan.push_back(secret_flag("--password", "providers.source.password", flags.password));
  else if (vsphere && !variable("GOVC_PASSWORD").empty())
    plan.push_back(secret_flag("--password", "providers.source.password", "env:GOVC_PASSWORD"));
  if (!flags.ca_file.empty()) text("--ca-file", "tls.ca_file", absolute_path(flags.ca_file));
  if (vsphere && flags.ca_file.empty() && is_true(variable("GOVC_INSECURE")))
    plan.push_back({"GOVC_INSECURE", "providers.source.tls.insecure", "true"});
  for (const std::string& option : flags.options)
    plan.push_back(option_flag("--provider-option", "providers.source.", option));
}

void name_missing_flag(Diagnostic& diagnostic) {
  constexpr std::string_view kBegin = "the key '", kEnd = "' is missing";
  const std::string& said = diagnostic.summary;
  const std::size_t end = said.find(kEnd);
  if (diagnostic.path.rfind("/providers/source", 0) != 0 || said.rfind(kBegin, 0) != 0 ||
      end == std::string::npos)
    return;
  const std::string key = said.substr(kBegin.size(), end - kBegin.size());
  const bool own = key == "path" || key == "endpoint" || key == "username" || key == "password";
  diagnostic.summary = (own ? "--" + key : "--provider-option " + key + "=…") + " is missing";
  if (key == "endpoint")
    diagnostic.hint = "e.g. --endpoint https://vc.example/sdk, or set GOVC_URL";
  if (key == "username") diagnostic.hint = "or set GOVC_USERNAME";
  if (key == "password") diagnostic.hint = "--password env:NAME or file:PATH, or set GOVC_PASSWORD";
  diagnostic.where.clear();
  diagnostic.path.clear();
}

}  // namespace hyperhost
