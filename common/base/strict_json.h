#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace troupe {

inline constexpr int kMaxJsonDepth = 64;

/// The value in `text`: one JSON value and nothing after it. Stricter than the library: a key twice in one object is
/// refused, and so is nesting deeper than kMaxJsonDepth. @throws ConfigError starting with `where` (the file, or file
/// and row).
nlohmann::json parse_json(std::string_view text, const std::string& where);

/// The same from the content of a file. @throws ConfigError naming it.
nlohmann::json read_json_file(const std::string& path);

/// `object`[key]. @throws ConfigError naming `where` and `key` where it is missing or `object` is not an object.
const nlohmann::json& json_member(const nlohmann::json& object, const std::string& key, const std::string& where);

/// `value` as bool, std::int64_t, double or std::string, without conversion (an integer is a double, not the reverse).
/// @throws ConfigError naming `where`, `key`, what was expected and what was found.
template <class T>
T json_as(const nlohmann::json& value, const std::string& key, const std::string& where);
template <>
bool json_as<bool>(const nlohmann::json& value, const std::string& key, const std::string& where);
template <>
std::int64_t json_as<std::int64_t>(const nlohmann::json& value, const std::string& key, const std::string& where);
template <>
double json_as<double>(const nlohmann::json& value, const std::string& key, const std::string& where);
template <>
std::string json_as<std::string>(const nlohmann::json& value, const std::string& key, const std::string& where);

/// json_as of `object`[key].
template <class T>
T json_get(const nlohmann::json& object, const std::string& key, const std::string& where) {
  return json_as<T>(json_member(object, key, where), key, where);
}

/// json_as of `object`[key], or `otherwise` where the key is missing or null.
template <class T>
T json_get_or(const nlohmann::json& object, const std::string& key, T otherwise, const std::string& where) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? otherwise : json_as<T>(*found, key, where);
}

}  // namespace troupe
