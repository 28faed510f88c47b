#include "rewarders/code/cpp_function.h"

#include <doctest/doctest.h>

namespace troupe {

using Json = nlohmann::json;

TEST_SUITE("rewarders/code/cpp_function") {
  TEST_CASE("values are the last line's, numbers with a fraction to nine places") {
    CHECK(same_value("debugging\n3\n", 3));
    CHECK(same_value("3.0", 3));
    CHECK(same_value("0.30000000000000004", 0.3));
    CHECK(same_value("[1,[\"a\",true]]", {1, {"a", true}}));
    CHECK(same_value("{\"a\":1,\"b\":2}", {{"b", 2}, {"a", 1}}));
    CHECK_FALSE(same_value("0.3001", 0.3));
    CHECK_FALSE(same_value("3\n4", 3));
    CHECK_FALSE(same_value("1", true));
    CHECK_FALSE(same_value("\"1\"", 1));
    CHECK_FALSE(same_value("[1,2]", {1}));
    CHECK_FALSE(same_value("{\"a\":1}", {{"a", 1}, {"b", 2}}));
    CHECK_FALSE(same_value("{\"a\":1,\"c\":2}", {{"a", 1}, {"b", 2}}));
    CHECK_FALSE(same_value("nan", 3));
    CHECK_FALSE(same_value("", 3));
  }

  TEST_CASE("arguments become literals, one call a number") {
    const std::string text = with_calls("int f();", "f", {{1, -2.5, true}, {"a\"", Json(nullptr), {1, {2}}, 5000000000, {{"k", 1}}}, Json::array()});
    CHECK(text.find("case 0: { const auto value = f(1, -2.5, true);") != std::string::npos);
    CHECK(text.find("case 1: { const auto value = f(std::string(\"\\141\\042\", 2), std::nullopt, {1, {2}}, 5000000000LL, {{std::string(\"\\153\", 1), 1}});") != std::string::npos);
    CHECK(text.find("case 2: { const auto value = f();") != std::string::npos);
  }

  TEST_CASE("a completion that names the function stands for itself, another continues the prompt") {
    const std::string prompt = "#include <vector>\nusing namespace std;\nint f(int x) {\n";
    CHECK(completed_cpp_prompt(prompt, "return x; }", "f") == prompt + "return x; }");
    CHECK(completed_cpp_prompt(prompt, "int f(int y) { return y; }", "f") == "#include <vector>\nusing namespace std;\nint f(int y) { return y; }");
    CHECK(completed_cpp_prompt(prompt, "return half(x); }", "f") == prompt + "return half(x); }");
    CHECK(completed_cpp_prompt(prompt, "return f; }", "f") == prompt + "return f; }");
  }
}

}  // namespace troupe
