#include "rewarders/json_schema.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "common/base/error.h"
#include "rewarders/pattern.h"

namespace troupe {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 128;  // of references and nesting together: a schema may refer to itself for ever

enum class Wants { kAnything, kSchema, kSchemas, kSchemaList, kCount, kNumber, kText, kTexts, kList, kBoolean, kTypes };

const std::map<std::string, Wants>& keywords() {
  static const std::map<std::string, Wants> kKeywords = {
      {"type", Wants::kTypes},           {"enum", Wants::kList},           {"const", Wants::kAnything},
      {"minimum", Wants::kNumber},       {"maximum", Wants::kNumber},      {"exclusiveMinimum", Wants::kNumber},
      {"exclusiveMaximum", Wants::kNumber}, {"multipleOf", Wants::kNumber}, {"minLength", Wants::kCount},
      {"maxLength", Wants::kCount},      {"pattern", Wants::kText},        {"items", Wants::kSchema},
      {"prefixItems", Wants::kSchemaList}, {"minItems", Wants::kCount},    {"maxItems", Wants::kCount},
      {"uniqueItems", Wants::kBoolean},  {"properties", Wants::kSchemas},  {"required", Wants::kTexts},
      {"additionalProperties", Wants::kSchema}, {"minProperties", Wants::kCount}, {"maxProperties", Wants::kCount},
      {"allOf", Wants::kSchemaList},     {"anyOf", Wants::kSchemaList},    {"oneOf", Wants::kSchemaList},
      {"not", Wants::kSchema},           {"$ref", Wants::kText},           {"$defs", Wants::kSchemas},
      {"definitions", Wants::kSchemas},  {"title", Wants::kAnything},      {"description", Wants::kAnything},
      {"default", Wants::kAnything},     {"examples", Wants::kAnything},   {"format", Wants::kAnything},
      {"deprecated", Wants::kAnything},  {"readOnly", Wants::kAnything},   {"writeOnly", Wants::kAnything},
      {"$schema", Wants::kAnything},     {"$id", Wants::kAnything},        {"$comment", Wants::kAnything},
  };
  return kKeywords;
}

const std::set<std::string>& types() {
  static const std::set<std::string> kTypes = {"null", "boolean", "object", "array", "number", "string", "integer"};
  return kTypes;
}

bool all_texts(const Json& list) {
  return list.is_array() && std::all_of(list.begin(), list.end(), [](const Json& item) { return item.is_string(); });
}

bool is_type(const Json& name) { return name.is_string() && types().contains(name.get<std::string>()); }

bool has_form(const Json& value, Wants wants) {
  switch (wants) {
    case Wants::kAnything: return true;
    case Wants::kSchema: return value.is_object() || value.is_boolean();
    case Wants::kSchemas: return value.is_object();
    case Wants::kSchemaList:
    case Wants::kList: return value.is_array() && !value.empty();
    case Wants::kCount: return value.is_number_unsigned();
    case Wants::kNumber: return value.is_number();
    case Wants::kText: return value.is_string();
    case Wants::kTexts: return all_texts(value);
    case Wants::kBoolean: return value.is_boolean();
    case Wants::kTypes: return is_type(value) || (value.is_array() && !value.empty() && std::all_of(value.begin(), value.end(), is_type));
  }
  return false;
}

bool of_type(const Json& value, const std::string& type) {
  if (type == "integer") return value.is_number_integer() || (value.is_number_float() && std::floor(value.get<double>()) == value.get<double>());
  if (type == "number") return value.is_number();
  return type == value.type_name();
}

/// Code points, as the standard counts.
std::size_t length_of(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

bool within(const Json& schema, const char* least, const char* most, std::size_t count) {
  return count >= schema.value(least, std::size_t{0}) && count <= schema.value(most, std::numeric_limits<std::size_t>::max());
}

bool fits_number(const Json& schema, const Json& value) {
  const double number = value.get<double>();
  const auto bound = [&](const char* key, auto holds) { return !schema.contains(key) || holds(number, schema.at(key).get<double>()); };
  const auto whole = [](double a, double b) { return std::abs(std::remainder(a, b)) <= 1e-12 * std::max(1.0, std::abs(a)); };
  return bound("minimum", std::greater_equal<>()) && bound("maximum", std::less_equal<>()) && bound("exclusiveMinimum", std::greater<>()) &&
         bound("exclusiveMaximum", std::less<>()) && bound("multipleOf", whole);
}

bool fits_text(const Json& schema, const std::string& text) {
  if (!within(schema, "minLength", "maxLength", length_of(text))) return false;
  if (!schema.contains("pattern")) return true;
  return Pattern(schema.at("pattern").get<std::string>()).matches(text);
}

}  // namespace

JsonSchema::JsonSchema(Json schema, const std::string& where) : root_(std::move(schema)) { check(root_, where + ": schema", 0); }

const Json& JsonSchema::target_of(const Json& reference, const std::string& place) const {
  const std::string text = reference.get<std::string>();
  try {
    if (text.starts_with("#")) return root_.at(Json::json_pointer(text.substr(1)));
  } catch (const Json::exception&) {
  }
  throw ConfigError(place + ": expected a place in the same schema (#/…) under \"$ref\", found \"" + text + "\"");
}

void JsonSchema::check(const Json& schema, const std::string& place, int depth) const {
  if (depth > kMaxDepth) throw ConfigError(place + ": nested deeper than " + std::to_string(kMaxDepth) + " levels");
  if (schema.is_boolean()) return;
  if (!schema.is_object()) throw ConfigError(place + ": expected an object, true or false, found " + schema.dump());
  for (const auto& [key, value] : schema.items()) {
    const auto known = keywords().find(key);
    if (known == keywords().end()) throw ConfigError(place + ": does not know the keyword \"" + key + "\"");
    if (!has_form(value, known->second)) throw ConfigError(place + ": \"" + key + "\" cannot be " + value.dump());
    if (key == "$ref") target_of(value, place);
    if (key == "multipleOf" && value.get<double>() <= 0) throw ConfigError(place + ": \"multipleOf\" must be above 0");
    if (known->second == Wants::kSchema) check(value, place + "/" + key, depth + 1);
    if (known->second != Wants::kSchemas && known->second != Wants::kSchemaList) continue;
    for (const auto& [name, part] : value.items()) check(part, place + "/" + key + "/" + name, depth + 1);
  }
  if (!schema.contains("pattern")) return;
  try {
    const Pattern tried(schema.at("pattern").get<std::string>());
  } catch (const ConfigError& error) {
    throw ConfigError(place + ": \"pattern\": " + error.what());
  }
}

bool JsonSchema::accepts(const Json& value) const { return fits(root_, value, 0); }

bool JsonSchema::fits(const Json& schema, const Json& value, int depth) const {
  if (depth > kMaxDepth) return false;
  if (schema.is_boolean()) return schema.get<bool>();
  if (schema.contains("$ref") && !fits(target_of(schema.at("$ref"), "schema"), value, depth + 1)) return false;
  if (schema.contains("type")) {
    const Json& type = schema.at("type");
    const Json list = type.is_array() ? type : Json::array({type});
    if (std::none_of(list.begin(), list.end(), [&](const Json& name) { return of_type(value, name.get<std::string>()); })) return false;
  }
  if (schema.contains("const") && schema.at("const") != value) return false;
  if (schema.contains("enum") && std::find(schema.at("enum").begin(), schema.at("enum").end(), value) == schema.at("enum").end()) return false;
  if (value.is_number() && !fits_number(schema, value)) return false;
  if (value.is_string() && !fits_text(schema, value.get<std::string>())) return false;
  if (value.is_object() && !fits_object(schema, value, depth)) return false;
  if (value.is_array() && !fits_array(schema, value, depth)) return false;
  return fits_combinations(schema, value, depth);
}

bool JsonSchema::fits_object(const Json& schema, const Json& value, int depth) const {
  if (!within(schema, "minProperties", "maxProperties", value.size())) return false;
  for (const Json& name : schema.value("required", Json::array())) {
    if (!value.contains(name.get<std::string>())) return false;
  }
  const auto properties = schema.find("properties");
  const auto others = schema.find("additionalProperties");
  for (const auto& [name, part] : value.items()) {
    const bool declared = properties != schema.end() && properties->contains(name);
    if (declared && !fits(properties->at(name), part, depth + 1)) return false;
    if (!declared && others != schema.end() && !fits(*others, part, depth + 1)) return false;
  }
  return true;
}

bool JsonSchema::fits_array(const Json& schema, const Json& value, int depth) const {
  if (!within(schema, "minItems", "maxItems", value.size())) return false;
  if (schema.value("uniqueItems", false) && std::set<Json>(value.begin(), value.end()).size() != value.size()) return false;
  const Json first = schema.value("prefixItems", Json::array());
  for (std::size_t i = 0; i < value.size(); ++i) {
    if (i < first.size() && !fits(first[i], value[i], depth + 1)) return false;
    if (i >= first.size() && schema.contains("items") && !fits(schema.at("items"), value[i], depth + 1)) return false;
  }
  return true;
}

bool JsonSchema::fits_combinations(const Json& schema, const Json& value, int depth) const {
  const auto count = [&](const char* key) {
    const Json& parts = schema.at(key);
    return static_cast<std::size_t>(std::count_if(parts.begin(), parts.end(), [&](const Json& part) { return fits(part, value, depth + 1); }));
  };
  if (schema.contains("allOf") && count("allOf") != schema.at("allOf").size()) return false;
  if (schema.contains("anyOf") && count("anyOf") == 0) return false;
  if (schema.contains("oneOf") && count("oneOf") != 1) return false;
  return !schema.contains("not") || !fits(schema.at("not"), value, depth + 1);
}

}  // namespace troupe
