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

  TEST_CASE("answers are the same by value, else by text without case and spaces") {
    CHECK(same_answer("1/2", "0.5"));
    CHECK(same_answer("1,000", "1000"));
    CHECK(same_answer("Paris", " paris "));
    CHECK(same_answer("\\text{Paris}", "paris."));
    CHECK(same_answer("$x+1$", "x + 1"));
    CHECK_FALSE(same_answer("0.51", "0.5"));
    CHECK_FALSE(same_answer("x+2", "x+1"));
    CHECK_FALSE(same_answer("", ""));
  }

  TEST_CASE("the final answer is looked for in the sources' order, the last of each kind") {
    const std::string text = "<answer>1</answer> then \\boxed{2} and #### 3\nbut also <answer> 4 </answer> 5.";

    CHECK(final_answer(text, {"tag", "boxed"}) == "4");
    CHECK(final_answer(text, {"boxed", "tag"}) == "2");
    CHECK(final_answer(text, {"hash"}) == "3");
    CHECK(final_answer(text, {"number"}) == "5");
    CHECK_FALSE(final_answer("no answer here", {"tag", "boxed", "hash", "number"}));
    CHECK_FALSE(final_answer("<answer>open", {"tag"}));
    CHECK(final_answer("<answer>so \\boxed{8}</answer>", {"tag"}) == "8");
    CHECK(last_boxed("\\boxed{\\frac{1}{2}}") == "\\frac{1}{2}");
    CHECK_FALSE(last_boxed("\\boxed{1"));
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
