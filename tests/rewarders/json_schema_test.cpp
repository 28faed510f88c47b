#include "rewarders/json_schema.h"

#include <doctest/doctest.h>

#include "common/base/error.h"

namespace troupe {
namespace {

bool accepts(const char* schema, const char* value) {
  return JsonSchema(nlohmann::json::parse(schema), "test").accepts(nlohmann::json::parse(value));
}

}  // namespace

TEST_SUITE("rewarders/json_schema") {
  TEST_CASE("each keyword accepts and refuses as the standard says") {
    struct Case {
      const char* schema;
      const char* good;
      const char* bad;
    };
    const Case cases[] = {
        {R"({"type": "integer"})", "3", "3.5"},
        {R"({"type": "integer"})", "3.0", "\"3\""},
        {R"({"type": ["string", "null"]})", "null", "0"},
        {R"({"type": "boolean"})", "false", "0"},
        {R"({"enum": [1, "a", [2]]})", "[2]", "2"},
        {R"({"const": {"a": 1}})", R"({"a": 1})", "{}"},
        {R"({"minimum": 1})", "1", "0.9"},
        {R"({"maximum": 1})", "1", "1.1"},
        {R"({"exclusiveMinimum": 1})", "2", "1"},
        {R"({"exclusiveMaximum": 1})", "0", "1"},
        {R"({"multipleOf": 0.1})", "0.3", "0.35"},
        {R"({"minLength": 2})", "\"éé\"", "\"é\""},
        {R"({"maxLength": 2})", "\"éé\"", "\"aaa\""},
        {R"({"pattern": "^a+$"})", "\"aa\"", "\"ab\""},
        {R"({"items": {"type": "number"}})", "[1, 2]", "[1, \"a\"]"},
        {R"({"prefixItems": [{"type": "string"}], "items": false})", "[\"a\"]", "[\"a\", 1]"},
        {R"({"minItems": 1})", "[1]", "[]"},
        {R"({"maxItems": 1})", "[1]", "[1, 1]"},
        {R"({"uniqueItems": true})", "[1, 2]", "[1, 1]"},
        {R"({"properties": {"a": {"type": "string"}}})", "{\"b\": 1}", "{\"a\": 1}"},
        {R"({"required": ["a"]})", "{\"a\": 1}", "{\"b\": 1}"},
        {R"({"properties": {"a": true}, "additionalProperties": false})", "{\"a\": 1}", "{\"a\": 1, \"b\": 1}"},
        {R"({"additionalProperties": {"type": "string"}})", "{\"b\": \"\"}", "{\"b\": 1}"},
        {R"({"minProperties": 1})", "{\"a\": 1}", "{}"},
        {R"({"maxProperties": 1})", "{\"a\": 1}", "{\"a\": 1, \"b\": 1}"},
        {R"({"allOf": [{"minimum": 1}, {"maximum": 2}]})", "2", "3"},
        {R"({"anyOf": [{"type": "string"}, {"minimum": 5}]})", "6", "4"},
        {R"({"oneOf": [{"minimum": 1}, {"maximum": 2}]})", "3", "1.5"},
        {R"({"not": {"type": "null"}})", "1", "null"},
        {R"({"$defs": {"n": {"type": "number"}}, "items": {"$ref": "#/$defs/n"}})", "[1]", "[\"1\"]"},
        {R"({"properties": {"next": {"$ref": "#"}}, "required": ["v"]})", R"({"v": 1, "next": {"v": 2}})", R"({"v": 1, "next": {}})"},
        {"true", "1", "1"},
    };

    for (const Case& c : cases) {
      CAPTURE(c.schema);
      CHECK(accepts(c.schema, c.good));
      if (std::string(c.schema) != "true") CHECK_FALSE(accepts(c.schema, c.bad));
    }
    CHECK_FALSE(accepts("false", "1"));
    CHECK_FALSE(accepts(R"({"$ref": "#"})", "1"));  // refers to itself for ever
  }

  TEST_CASE("a schema that is none, or has a keyword that would be passed over, is refused by name") {
    CHECK_THROWS_WITH_AS(accepts(R"({"properties": {"a": {"minimun": 1}}})", "1"), doctest::Contains("/properties/a: does not know the keyword \"minimun\""), ConfigError);
    CHECK_THROWS_WITH_AS(accepts(R"({"type": "text"})", "1"), doctest::Contains("\"type\" cannot be"), ConfigError);
    CHECK_THROWS_WITH_AS(accepts(R"({"$ref": "#/$defs/a"})", "1"), doctest::Contains("#/$defs/a"), ConfigError);
    CHECK_THROWS_WITH_AS(accepts(R"({"pattern": "("})", "1"), doctest::Contains("not a regular expression"), ConfigError);
    CHECK_THROWS_AS(accepts("3", "1"), ConfigError);
  }
}

}  // namespace troupe
