// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "core/plan/plan.hpp"
#include "hosts/hyperhost/documentation_parts.hpp"

namespace hyperhost::documentation {
namespace {

/// Text for roff: nothing in it is a request, and a hyphen is one that can be typed.
std::string roff(const std::string& text) {
  std::string out;
  bool begins = true;
  for (const char c : text) {
    if (begins && (c == '.' || c == '\'')) out += "\\&";
    begins = c == '\n';
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else
      out += c;
  }
  return out;
}

std::string synopsis(const CLI::App& app, const std::string& program, const std::string& path) {
  std::string out = ".B " + program + (path.empty() ? "" : " " + roff(path)) + "\n[OPTIONS]";
  if (!commands_of(app).empty()) out += " COMMAND";
  for (const CLI::Option* option : options_of(app)) {
    if (!option->get_positional()) continue;
    const std::string name = option->get_name(true);
    const std::string more = option->get_expected_max() > 1 ? name + " ..." : name;
    out += option->get_required() ? " " + more : " [" + more + "]";
  }
  return out + "\n";
}

std::string man_options(const CLI::App& app) {
  std::string out;
  for (const CLI::Option* option : options_of(app)) {
    std::string head =
        option->get_positional() ? option->get_name(true) : option->get_name(false, true);
    std::replace(head.begin(), head.end(), ',', ' ');
    out += ".TP\n.B " + roff(head);
    const auto choices = choices_of(*option);
    if (takes_value(*option) && choices.empty()) out += " VALUE";
    out += "\n" + roff(one_line(option->get_description())) + ".";
    if (!choices.empty()) {
      out += "\nOne of";
      for (const std::string& choice : choices) out += " " + roff(choice);
      out += ".";
    }
    if (!option->get_default_str().empty() && takes_value(*option))
      out += "\nDefault: " + roff(option->get_default_str()) + ".";
    out += "\n";
  }
  return out;
}

/// A footer's paragraphs under the headings that manual pages have for them.
struct Sections {
  std::string notes, environment, files, status, examples;

  explicit Sections(const std::string& footer) {
    static const std::pair<const char*, std::string Sections::*> kHeads[] = {
        {"Exit status: ", &Sections::status},
        {"Environment: ", &Sections::environment},
        {"Files: ", &Sections::files},
        {"Examples:\n", &Sections::examples},
        {"Example:\n", &Sections::examples}};
    for (std::size_t begin = 0; begin < footer.size();) {
      const std::size_t end = std::min(footer.find("\n\n", begin), footer.size());
      std::string paragraph = footer.substr(begin, end - begin);
      begin = end + 2;
      std::string Sections::*into = &Sections::notes;
      for (const auto& [head, section] : kHeads) {
        if (paragraph.rfind(head, 0) != 0) continue;
        paragraph.erase(0, std::string_view(head).size());
        into = section;
        break;
      }
      std::string& text = this->*into;
      text += (text.empty() ? "" : "\n\n") + paragraph;
    }
  }
};

std::string section(const char* heading, const std::string& text) {
  return text.empty() ? "" : ".SH " + std::string(heading) + "\n" + text + "\n";
}

std::string title(const std::string& name, int number, const std::string& version,
                  const std::string& about) {
  std::string upper = name;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return ".TH " + upper + " " + std::to_string(number) + " \"\" \"hyperhost " + version +
         "\" \"hyperhost\"\n.SH NAME\n" + roff(name) + " \\- " + roff(one_line(about)) + "\n";
}

std::string see_also(const CLI::App& app, const std::string& program, const std::string& path) {
  std::string out;
  if (path.empty())
    for (const CLI::App* command : commands_of(app))
      out += ".BR " + roff(page_name(program, command->get_name())) + " (1)\n";
  else
    out = ".BR " + program + " (1)\n";
  if (program != "hyperhost") out += ".BR hyperhost (1)\n";
  return out + ".BR hyperhost\\-plan (5)\n";
}

std::string list_of(const std::vector<const CLI::App*>& commands) {
  std::string out;
  for (const CLI::App* command : commands)
    out += (out.empty() ? ".TP\n.B " : "\n.TP\n.B ") + roff(command->get_name()) + "\n" +
           roff(one_line(command->get_description())) + ".";
  return out;
}

}  // namespace

std::string man_page(const CLI::App& whole, const CLI::App& app, const std::string& path,
                     const std::string& version) {
  const std::string& program = whole.get_name();
  std::string description = app.get_description();
  // "hyperhost: takes VMs …" is how --help begins; the page has the name already.
  if (path.empty() && description.rfind(program + ": ", 0) == 0)
    description.erase(0, program.size() + 2);
  const Sections own(app.get_footer()), general(whole.get_footer());
  std::string about = roff(one_line(description)) + ".";
  if (!own.notes.empty()) about += "\n.PP\n" + roff(own.notes);
  std::string out = ".\\\" Made from the program's own --help.\n" +
                    title(page_name(program, path), 1, version, description) + ".SH SYNOPSIS\n" +
                    synopsis(app, program, path) + section("DESCRIPTION", about) +
                    section("COMMANDS", list_of(commands_of(app)));
  if (const std::string options = man_options(app); !options.empty())
    out += ".SH OPTIONS\n" + options;
  const auto or_general = [&](std::string Sections::*member) {
    return roff((own.*member).empty() ? general.*member : own.*member);
  };
  out += section("EXIT STATUS", or_general(&Sections::status));
  out += section("ENVIRONMENT", or_general(&Sections::environment));
  out += section("FILES", or_general(&Sections::files));
  if (!own.examples.empty()) out += ".SH EXAMPLES\n.nf\n" + roff(own.examples) + "\n.fi\n";
  return out + ".SH SEE ALSO\n" + see_also(app, program, path);
}

namespace {

using nlohmann::json;

/// What `schema` says, with what it refers to beneath it.
json followed(const json& root, const json& schema) {
  if (!schema.is_object() || !schema.contains("$ref")) return schema;
  const std::string reference = schema["$ref"].get<std::string>();
  json out = followed(root, root.at(json::json_pointer(reference.substr(1))));
  for (const auto& [key, value] : schema.items())
    if (key != "$ref") out[key] = value;
  return out;
}

std::string values_of(const json& schema) {
  if (schema.contains("x-hyper-form")) return schema["x-hyper-form"].get<std::string>();
  if (!schema.contains("enum")) return {};
  std::string out = "one of";
  for (const json& value : schema["enum"])
    out += " " + (value.is_string() ? value.get<std::string>() : value.dump());
  return out;
}

/// A paragraph for each key of the mapping that `schema` describes, and for those beneath it.
void man_keys(const json& root, const json& schema, const std::string& prefix, int depth,
              std::string& out) {
  constexpr int kDeepest = 4;
  if (depth > kDeepest || !schema.is_object()) return;
  const json properties = schema.value("properties", json::object());
  for (const auto& [key, value] : properties.items()) {
    const json property = followed(root, value);
    const std::string name = prefix + key;
    out +=
        ".TP\n.B " + roff(name) + "\n" + roff(property.value("description", "See below.")) + "\n";
    if (const std::string values = values_of(property); !values.empty())
      out += "(" + roff(values) + ")\n";
    if (property.contains("default") && !property["default"].is_structured())
      out += "Default: " + roff(property["default"].dump()) + ".\n";
    man_keys(root, property, name + ".", depth + 1, out);
    const json branches = property.value("anyOf", json::array());
    for (const json& branch : branches)
      man_keys(root, followed(root, branch), name + ".", depth + 1, out);
    static const std::pair<const char*, const char*> kInner[] = {
        {"items", "[]."}, {"additionalProperties", ".NAME."}};
    for (const auto& [inner, mark] : kInner)
      if (property.contains(inner))
        man_keys(root, followed(root, property[inner]), name + mark, depth + 1, out);
  }
}

}  // namespace

std::string man_plan(const std::string& version) {
  std::string keys;
  man_keys(plan_schema(), plan_schema(), "", 0, keys);
  return ".\\\" Made from the plan's JSON Schema.\n" +
         title("hyperhost-plan", 5, version, "what a migration plan says") +
         ".SH DESCRIPTION\nA plan is a YAML file: which VMs go where, and how.\n"
         ".B hyperhost validate\nchecks it,\n.B hyperhost run\nruns it.\n"
         "Unknown keys are errors. Relative paths count from the plan's directory.\n"
         ".SH KEYS\n" +
         keys +
         ".SH EXAMPLES\n.nf\n"
         "version: 1\nproviders:\n  shelf: {plugin: local\\-ovf, path: /srv/exports}\n"
         "output_dir: /srv/vms\nmigrations:\n  \\- {vm: web\\-01, provider: shelf}\n.fi\n"
         ".SH SEE ALSO\n.BR hyperhost (1)\n.BR hyperhost\\-validate (1)\n"
         ".BR hyperhost\\-schema (1)\n";
}

}  // namespace hyperhost::documentation
