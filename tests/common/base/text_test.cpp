#include "common/base/text.h"

#include <limits>

#include <doctest/doctest.h>

using namespace troupe;

TEST_SUITE("base/text") {
  TEST_CASE("trim takes white space off both ends only") {
    CHECK(trim(" \t a b\r\n") == "a b");
    CHECK(trim("x") == "x");
    CHECK(trim(" \n") == "");
  }

  TEST_CASE("split keeps empty parts, and join puts them together again") {
    CHECK(split("a,,b,", ',') == std::vector<std::string_view>{"a", "", "b", ""});
    CHECK(split("", ',') == std::vector<std::string_view>{""});
    CHECK(join({"a", "a", "b"}, ", ") == "a, a, b");
    CHECK(join({}, ", ") == "");
  }

  TEST_CASE("the beginning of a text ends between characters, and says that there is more") {
    const std::string most(200, 'a');
    CHECK(beginning_of(most) == most);
    CHECK(beginning_of(most + "b") == most + "…");
    CHECK(beginning_of(most.substr(2) + "\u6f22\u5b57") == most.substr(2) + "…");
    CHECK(beginning_of(most.substr(3) + "\u6f22\u5b57") == most.substr(3) + "\u6f22…");
  }

  TEST_CASE("edit distances are the textbook's") {
    CHECK(edit_distance("kitten", "sitting") == 3);
    CHECK(edit_distance("flaw", "lawn") == 2);
    CHECK(edit_distance("", "abc") == 3);
    CHECK(edit_distance("abc", "") == 3);
    CHECK(edit_distance("same", "same") == 0);
  }

  TEST_CASE("the nearest name has the smallest distance, the first on ties") {
    CHECK(nearest("optimizer.lrr", {"optimizer.eps", "optimizer.lr"}) == "optimizer.lr");
    CHECK(nearest("b", {"a", "c"}) == "a");
    CHECK_FALSE(nearest("b", {}).has_value());
  }

  TEST_CASE("only whole finite decimal numbers are numbers") {
    CHECK(parse_double("1e-6") == 1e-6);
    CHECK(parse_double("-2.5") == -2.5);
    for (const char* bad : {"", " 1", "1 ", "1x", "nan", "inf", "-inf", "1e999", "0x10", "1,5"}) {
      CAPTURE(bad);
      CHECK_FALSE(parse_double(bad).has_value());
    }
  }

  TEST_CASE("the shortest text of a double parses back to it") {
    CHECK(shortest(0.1) == "0.1");
    CHECK(shortest(1e-6) == "1e-06");
    CHECK(shortest(64.0) == "64");
    for (const double value : {1.0 / 3, 5e-324, std::numeric_limits<double>::max(), -0.0, 0.28}) {
      CHECK(parse_double(shortest(value)) == value);
    }
  }
}
