#include "common/base/utf8.h"

#include <doctest/doctest.h>

#include <string>

TEST_SUITE("base/utf8") {
  TEST_CASE("the valid prefix ends before the first ill-formed sequence") {
    CHECK(troupe::valid_utf8_prefix("") == 0);
    CHECK(troupe::valid_utf8_prefix("aé漢\U0001F600") == 10);
    const std::string lengths[] = {"\x7F",         "\xC2\x80",         "\xDF\xBF",
                                   "\xE0\xA0\x80", "\xED\x9F\xBF",     "\xEE\x80\x80",
                                   "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"};
    for (const auto& text : lengths) CHECK(troupe::valid_utf8_prefix(text) == text.size());
    for (const char* text : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
                             "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xE2\x82", "\xC3("}) {
      CHECK(troupe::valid_utf8_prefix(std::string("ab") + text) == 2);
    }
  }

  TEST_CASE("each maximal ill-formed piece becomes one replacement character (Unicode, table 3-8)") {
    CHECK(troupe::utf8_or_replacement("aé") == "aé");
    CHECK(troupe::utf8_or_replacement("a\xF1\x80\x80\xE1\x80\xC2"
                                      "b\x80"
                                      "c\x80\xBF"
                                      "d") ==
          "a\uFFFD\uFFFD\uFFFD"
          "b\uFFFD"
          "c\uFFFD\uFFFD"
          "d");
    CHECK(troupe::utf8_or_replacement("\xED\xA0\x80") == "\uFFFD\uFFFD\uFFFD");
    CHECK(troupe::utf8_or_replacement("\xE2\x82") == "\uFFFD");
  }

  TEST_CASE("code points are written and read back at every length's bounds") {
    for (const char32_t c : {0x0u, 0x7Fu, 0x80u, 0x7FFu, 0x800u, 0xFFFFu, 0x10000u, 0x10FFFFu}) {
      std::string text = "x";
      troupe::append_utf8(text, c);
      const auto read = troupe::code_point_at(text, 1);
      CHECK(static_cast<std::uint32_t>(read.value) == static_cast<std::uint32_t>(c));
      CHECK(read.bytes == text.size() - 1);
      CHECK(troupe::valid_utf8_prefix(text) == text.size());
    }
  }
}
