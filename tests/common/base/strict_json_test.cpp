#include "common/base/strict_json.h"

#include <doctest/doctest.h>

#include <string>

using troupe::ConfigError;
using troupe::parse_json;

TEST_SUITE("base/strict_json") {
  TEST_CASE("values of every kind come back as the library would read them") {
    const std::string text =
        R"( {"a": [1, -2, 3.5, "x\u00e9", true, null, {}, []], "b": {"a": 18446744073709551615}} )";
    CHECK(parse_json(text, "w") == nlohmann::json::parse(text));
    CHECK(parse_json("7", "w") == 7);
  }

  TEST_CASE("a key twice in one object is refused, the same key in two objects is not") {
    CHECK_THROWS_WITH_AS(parse_json(R"({"a": 1, "b": {"a": 2}, "a": 3})", "f:3"),
                         "f:3: key \"a\" stands twice in one object", ConfigError);
    CHECK_THROWS_AS(parse_json(R"([{"x": {"a": 1, "a": 1}}])", "w"), ConfigError);
    CHECK_NOTHROW(parse_json(R"([{"a": 1}, {"a": 1}])", "w"));
  }

  TEST_CASE("64 levels of nesting are read, 65 are refused") {
    CHECK_NOTHROW(parse_json(std::string(64, '[') + std::string(64, ']'), "w"));
    CHECK_THROWS_WITH_AS(parse_json(std::string(65, '[') + std::string(65, ']'), "w"),
                         "w: JSON nested deeper than 64 levels", ConfigError);
    CHECK_THROWS_AS(parse_json(std::string(1'000'000, '['), "w"), ConfigError);
  }

  TEST_CASE("what is not one JSON value is refused with its place") {
    for (const char* text :
         {"", " ", "{", "{\"a\":}", "[1,]", "nan", "1e999", "{} {}", "\"\xC3(\"", "\"\x01\"", "\xEF\xBB\xBF"}) {
      CAPTURE(text);
      CHECK_THROWS_WITH_AS(parse_json(text, "f:3"), doctest::Contains("f:3: not valid JSON: "), ConfigError);
    }
  }

  TEST_CASE("members are read without conversion, and a wrong one is named") {
    const auto json =
        parse_json(R"({"i": 3, "u": 9223372036854775808, "d": 0.5, "s": "x", "t": true, "n": null})", "w");
    CHECK(troupe::json_get<std::int64_t>(json, "i", "w") == 3);
    CHECK(troupe::json_get<double>(json, "i", "w") == 3.0);
    CHECK(troupe::json_get<double>(json, "d", "w") == 0.5);
    CHECK(troupe::json_get<std::string>(json, "s", "w") == "x");
    CHECK(troupe::json_get<bool>(json, "t", "w"));
    CHECK(troupe::json_get_or<std::int64_t>(json, "n", 7, "w") == 7);
    CHECK(troupe::json_get_or<std::int64_t>(json, "absent", 7, "w") == 7);
    CHECK_THROWS_WITH_AS(troupe::json_get<std::int64_t>(json, "d", "w"), "w: key \"d\": expected an integer, found 0.5",
                         ConfigError);
    CHECK_THROWS_AS(troupe::json_get<std::int64_t>(json, "u", "w"), ConfigError);
    CHECK_THROWS_AS(troupe::json_get<std::string>(json, "i", "w"), ConfigError);
    CHECK_THROWS_AS(troupe::json_get<bool>(json, "i", "w"), ConfigError);
    CHECK_THROWS_AS(troupe::json_get_or<double>(json, "s", 1.0, "w"), ConfigError);
    CHECK_THROWS_WITH_AS(troupe::json_get<bool>(json, "absent", "w"), "w: key \"absent\" is missing", ConfigError);
    CHECK_THROWS_WITH_AS(troupe::json_get<bool>(parse_json("[]", "w"), "k", "w"),
                         "w: expected an object with key \"k\", found array", ConfigError);
  }
}
