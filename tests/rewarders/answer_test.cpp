#include "rewarders/answer.h"

#include <doctest/doctest.h>

#include <string>

namespace troupe {

TEST_SUITE("rewarders/answer") {
  TEST_CASE("numbers are read as people write them, exactly") {
    struct Case {
      const char* text;
      const char* value;  // nullptr: not a number
    };
    const Case cases[] = {
        {"42", "42"},        {" -7 ", "-7"},        {"+3", "3"},          {"1,234,567", "1234567"}, {"12,34", nullptr},
        {"1234,567", nullptr}, {"0.5", "1/2"},      {".4", "2/5"},        {"5.", "5"},              {"3/4", "3/4"},
        {"3/0", nullptr},    {"\\frac{3}{4}", "3/4"}, {"\\dfrac{1}{3}", "1/3"}, {"-\\frac{1}{2}", "-1/2"},
        {"12%", "3/25"},     {"50\\%", "1/2"},      {"$18", "18"},        {"-$5", "-5"},            {"$1.50$", "3/2"},
        {"1e3", "1000"},     {"2.5e-1", "1/4"},     {"1e99999", nullptr}, {"1e", nullptr},          {"", nullptr},
        {"abc", nullptr},    {"4 2", nullptr},      {"007", "7"},         {"0", "0"},               {"--3", nullptr},
    };

    for (const Case& c : cases) {
      CAPTURE(c.text);
      const auto value = parse_number(c.text);
      CHECK(value.has_value() == (c.value != nullptr));
      if (value && c.value != nullptr) CHECK(*value == Rational(c.value));
    }
  }

  TEST_CASE("a number of over 200 characters is refused at once") {
    CHECK_FALSE(parse_number(std::string(201, '9')));
    CHECK(parse_number(std::string(200, '9')));
  }

  TEST_CASE("arithmetic follows precedence, exactly, and gives its literals in order") {
    std::vector<Rational> numbers;

    CHECK(*evaluate_arithmetic("1+2*3", &numbers) == 7);
    CHECK(numbers == std::vector<Rational>{1, 2, 3});
    CHECK(*evaluate_arithmetic("(1+2)*3", nullptr) == 9);
    CHECK(*evaluate_arithmetic("8 / 3 / 2", nullptr) == Rational(4, 3));
    CHECK(*evaluate_arithmetic("10-4-3", nullptr) == 3);
    CHECK(*evaluate_arithmetic("-2 × -3", nullptr) == 6);
    for (const char* bad : {"", "1+", "(1", "1)", "1/0", "2(3)", "a+1", "1..2"}) {
      CAPTURE(bad);
      CHECK_FALSE(evaluate_arithmetic(bad, nullptr));
    }
    CHECK_FALSE(evaluate_arithmetic(std::string(150, '(') + "1" + std::string(150, ')'), nullptr));
  }
}

}  // namespace troupe
