#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace troupe {

/// A JSON Schema (draft 2020-12, and what earlier drafts share with it) of these keywords: type, enum, const; minimum, maximum,
/// exclusiveMinimum, exclusiveMaximum, multipleOf; minLength, maxLength, pattern (pattern.h); items, prefixItems,
/// minItems, maxItems, uniqueItems; properties, required, additionalProperties, minProperties, maxProperties; allOf, anyOf, oneOf, not; $ref
/// to a place in the same schema. Annotations (title, description, default, format …) say nothing.
class JsonSchema {
 public:
  /// @throws ConfigError naming `where` and the keyword that it does not know, or that has a wrong value.
  JsonSchema(nlohmann::json schema, const std::string& where);

  /// Whether `value` is valid.
  bool accepts(const nlohmann::json& value) const;

 private:
  void check(const nlohmann::json& schema, const std::string& place, int depth) const;
  bool fits(const nlohmann::json& schema, const nlohmann::json& value, int depth) const;
  bool fits_object(const nlohmann::json& schema, const nlohmann::json& value, int depth) const;
  bool fits_array(const nlohmann::json& schema, const nlohmann::json& value, int depth) const;
  bool fits_combinations(const nlohmann::json& schema, const nlohmann::json& value, int depth) const;
  const nlohmann::json& target_of(const nlohmann::json& reference, const std::string& place) const;

  nlohmann::json root_;
};

}  // namespace troupe
