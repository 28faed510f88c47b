#include "rewarders/pattern.h"

#include <doctest/doctest.h>

#include <chrono>

#include "common/base/error.h"

namespace troupe {
namespace {

double milliseconds_of(const Pattern& pattern, const std::string& text, bool expected) {
  const auto start = std::chrono::steady_clock::now();
  CHECK(pattern.matches(text) == expected);
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST_SUITE("rewarders/pattern") {
  TEST_CASE("a pattern is found somewhere, or matches the whole") {
    CHECK(Pattern("b+").matches("abba"));
    CHECK_FALSE(Pattern("b+", {.whole = true}).matches("abba"));
    CHECK(Pattern("ab+a", {.whole = true}).matches("abba"));
    CHECK(Pattern("a|ab", {.whole = true}).matches("ab"));
    CHECK_FALSE(Pattern("B").matches("abba"));
    CHECK(Pattern("B", {.ignore_case = true}).matches("abba"));
    CHECK(Pattern("^$").matches(""));
    CHECK(Pattern("(?=.*b)a").matches("ab"));
  }

  TEST_CASE("what ECMAScript and PCRE2 write differently is read as ECMAScript") {
    CHECK_FALSE(Pattern("a$").matches("a\n"));
    CHECK_FALSE(Pattern("^a.b$").matches("a\rb"));
    CHECK_FALSE(Pattern("^a.b$").matches("a\nb"));
    CHECK(Pattern(R"(^[\s\S]*$)").matches("a\r\nb"));
    CHECK(Pattern(R"(^\u00e9\x41$)").matches("\xc3\xa9"
                                             "A"));
    CHECK_FALSE(Pattern("[]").matches("]"));
    CHECK(Pattern("^.$").matches("\xe4\xb8\xad"));
    CHECK(Pattern("a").matches("\xff\xfe a"));
  }

  TEST_CASE("a match that takes more steps than the text is worth is none, in milliseconds") {
    const std::string many(20000, 'a');
    for (const char* pattern : {"(a+)+$", "(a|a)*$", "(a|aa)+$", "^(([a-z])+.)+[A-Z]$", "(.*a){20}$", "(a*)*$", "(?=(a+)+$)b"}) {
      CAPTURE(pattern);
      CHECK(milliseconds_of(Pattern(pattern), many + "!", false) < 200);
    }
    CHECK(milliseconds_of(Pattern("(x+x+)+y"), std::string(30000, 'x'), false) < 200);
    CHECK(milliseconds_of(Pattern("(a?){50}a{50}", {.whole = true}), std::string(50, 'a'), false) < 200);
  }

  TEST_CASE("long texts have steps enough for patterns that read them once") {
    std::string text = "<think>";
    for (int i = 0; i < 40000; ++i) text += "so 1 + 1 = 2, ";
    text += "</think>\n<answer>2</answer>";
    CHECK(Pattern(R"(^<think>[\s\S]*?</think>\s*<answer>[\s\S]*?</answer>$)").matches(text));
    CHECK(Pattern(R"(<think>(?![\s\S]*<think>)[\s\S]*?</think>[\s\S]*)", {.whole = true}).matches(text));
    CHECK(Pattern("^(so 1|[^s]|s)*$").matches(text.substr(0, 20000)));
    CHECK_FALSE(Pattern(R"(<answer>3</answer>)").matches(text));
  }

  TEST_CASE("the last match's first group") {
    CHECK(Pattern(R"(\[\[(\d+)\]\])").last_group("[[1]] and [[22]]") == "22");
    CHECK(Pattern(R"(\[\[(\d+)\]\])").last_group("[1]") == std::nullopt);
    CHECK(Pattern("a|(b)").last_group("ba") == "");
    CHECK(Pattern("(x*)").last_group("xxa") == "");
    CHECK(Pattern("(a)(b)").groups() == 2);
    CHECK(Pattern("a").groups() == 0);
  }

  TEST_CASE("what is no pattern is refused with the place") {
    CHECK_THROWS_WITH_AS(Pattern("a("), doctest::Contains("'a(' is not a regular expression: "), ConfigError);
    CHECK_THROWS_WITH_AS(Pattern("a("), doctest::Contains(" at offset 2"), ConfigError);
  }
}

}  // namespace troupe
