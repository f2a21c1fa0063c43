// SPDX-License-Identifier: Apache-2.0
#include "core/config/config_value.hpp"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

namespace hyperhost {

std::string Mark::where() const {
  std::string text = source ? *source : std::string();
  if (line == 0) return text;
  return text + ":" + std::to_string(line) + ":" + std::to_string(column);
}

ConfigValue::ConfigValue(Data data, Mark mark) : data_(std::move(data)), mark_(std::move(mark)) {}

ConfigValue ConfigValue::mapping(Mark mark) {
  return ConfigValue(Mapping(), std::move(mark));
}

ConfigValue ConfigValue::from_json(const nlohmann::json& json, const Mark& mark) {
  ConfigValue value;
  value.mark_ = mark;
  value.implied_ = true;
  switch (json.type()) {
    case nlohmann::json::value_t::boolean:
      value.data_ = json.get<bool>();
      break;
    case nlohmann::json::value_t::number_integer:
      value.data_ = json.get<int64_t>();
      break;
    case nlohmann::json::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        value.data_ = static_cast<int64_t>(number);
      } else {
        value.data_ = static_cast<double>(number);
      }
      break;
    }
    case nlohmann::json::value_t::number_float:
      value.data_ = json.get<double>();
      break;
    case nlohmann::json::value_t::string:
      value.data_ = json.get<std::string>();
      break;
    case nlohmann::json::value_t::array: {
      Sequence sequence;
      for (const auto& item : json) sequence.push_back(from_json(item, mark));
      value.data_ = std::move(sequence);
      break;
    }
    case nlohmann::json::value_t::object: {
      Mapping mapping;
      for (const auto& [key, item] : json.items()) {
        mapping.push_back({key, mark, from_json(item, mark)});
      }
      value.data_ = std::move(mapping);
      break;
    }
    default:
      break;
  }
  return value;
}

const char* ConfigValue::kind_name(Kind kind) {
  switch (kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kBoolean:
      return "true or false";
    case Kind::kInteger:
      return "a whole number";
    case Kind::kNumber:
      return "a number with a fraction";
    case Kind::kString:
      return "a string";
    case Kind::kSequence:
      return "a list";
    case Kind::kMapping:
      return "a mapping";
    case Kind::kReference:
      return "a secret's reference";
  }
  return "a value";
}

const ConfigValue* ConfigValue::find(std::string_view key) const {
  const Mapping* mapping = members();
  if (mapping == nullptr) return nullptr;
  auto found = std::find_if(mapping->begin(), mapping->end(),
                            [&](const Member& member) { return member.key == key; });
  return found == mapping->end() ? nullptr : &found->value;
}

ConfigValue* ConfigValue::find(std::string_view key) {
  return const_cast<ConfigValue*>(std::as_const(*this).find(key));
}

void ConfigValue::set(std::string key, ConfigValue value, Mark key_mark) {
  if (ConfigValue* existing = find(key)) {
    *existing = std::move(value);
  } else {
    members()->push_back({std::move(key), std::move(key_mark), std::move(value)});
  }
}

void ConfigValue::erase(std::string_view key) {
  if (Mapping* mapping = members()) {
    std::erase_if(*mapping, [&](const Member& member) { return member.key == key; });
  }
}

void ConfigValue::assign(Data data) {
  data_ = std::move(data);
}

void ConfigValue::mark_all(const Mark& mark) {
  mark_ = mark;
  if (Sequence* items = sequence()) {
    for (ConfigValue& item : *items) item.mark_all(mark);
  }
  if (Mapping* mapping = members()) {
    for (Member& member : *mapping) {
      member.key_mark = mark;
      member.value.mark_all(mark);
    }
  }
}

nlohmann::json ConfigValue::to_json() const {
  switch (kind()) {
    case Kind::kNull:
      return nullptr;
    case Kind::kBoolean:
      return *boolean();
    case Kind::kInteger:
      return *integer();
    case Kind::kNumber:
      return *number();
    case Kind::kString:
      return *string();
    case Kind::kSequence: {
      nlohmann::json json = nlohmann::json::array();
      for (const ConfigValue& item : *sequence()) json.push_back(item.to_json());
      return json;
    }
    case Kind::kMapping: {
      nlohmann::json json = nlohmann::json::object();
      for (const Member& member : *members()) json[member.key] = member.value.to_json();
      return json;
    }
    case Kind::kReference: {
      const bool env = reference()->source == SecretReference::Source::kEnvironment;
      return nlohmann::json::object({{env ? "env" : "file", reference()->name}});
    }
  }
  return nullptr;
}

std::string pointer_join(std::string_view pointer, std::string_view key) {
  std::string joined(pointer);
  joined += '/';
  for (char c : key) {
    if (c == '~') {
      joined += "~0";
    } else if (c == '/') {
      joined += "~1";
    } else {
      joined += c;
    }
  }
  return joined;
}

std::string pointer_join(std::string_view pointer, size_t index) {
  return std::string(pointer) + "/" + std::to_string(index);
}

}  // namespace hyperhost
