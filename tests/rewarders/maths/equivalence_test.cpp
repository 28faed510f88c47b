#include "rewarders/maths/equivalence.h"

#include <doctest/doctest.h>

#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "rewarders/maths/extraction.h"

using nlohmann::json;
using troupe::same_answer;

namespace {

std::vector<json> rows_of(const std::string& name) {
  std::ifstream in(std::string(TROUPE_TEST_DATA) + "/" + name);
  std::vector<json> rows;
  for (std::string line; std::getline(in, line);) rows.push_back(json::parse(line));
  REQUIRE_FALSE(rows.empty());
  return rows;
}

/// The processor time of this thread: a busy machine must not fail the test.
double thread_ms() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
}

std::string repeated(const std::string& text, std::size_t times) {
  std::string result;
  for (std::size_t i = 0; i < times; ++i) result += text;
  return result;
}

}  // namespace

TEST_SUITE("rewarders/maths/equivalence") {
  TEST_CASE("answers of every kind are told apart and recognised, worked by hand") {
    for (const json& row : rows_of("rewarders/maths/cases.jsonl")) {
      CAPTURE(row.dump());
      CHECK(same_answer(row["given"].get<std::string>(), row["gold"].get<std::string>()) == row["same"].get<bool>());
    }
  }

  TEST_CASE("the cases of math-verify come out as there, or as the note says") {
    for (const json& row : rows_of("parity/math_verify_cases.jsonl")) {
      CAPTURE(row.dump());
      const auto answer = troupe::final_answer(row["completion"].get<std::string>(), troupe::usual_answer_sources());
      const bool same = answer && same_answer(*answer, troupe::gold_answer(row["gold"].get<std::string>()));
      CHECK(same == row.value("ours", row["expected"].get<bool>()));
    }
  }

  TEST_CASE("a list is in any order unless the option asks for the gold's") {
    CHECK(same_answer("3, 1, 2", "1, 2, 3"));
    CHECK_FALSE(same_answer("3, 1, 2", "1, 2, 3", {.ordered_lists = true}));
    CHECK(same_answer("1, 2, 3", "1,2,3", {.ordered_lists = true}));
    CHECK(same_answer("\\{3, 1, 2\\}", "\\{1, 2, 3\\}", {.ordered_lists = true}));
  }

  TEST_CASE("hostile answers end within ten milliseconds and are not the same") {
    const std::vector<std::string> hostile = {
        "10^{10^{10}}", "9^{9^{9^9}}", "2^{2^{2^{2^{2^{2}}}}}", "1/0", "\\frac{1}{0}", "0^{-1}", "100000!", "((((20!)!)!)!)!",
        "(1+x)^{100000}", "x^{99999}+\\sin x", "\\sum_{k=1}^{1000000000} k", "\\binom{1000000}{500000}", "1e999999999",
        "\\sum_{k=1}^{199} \\sum_{j=1}^{199} \\sum_{i=1}^{199} \\sin(ijk)", "0." + repeated("3", 3900), repeated("9", 100'000),
        repeated("(", 50'000), repeated("{", 100'000), repeated("\\frac{", 20'000), repeated("-", 4000) + "1",
        repeated("\\sqrt{", 600) + "2" + repeated("}", 600), repeated("\\frac{1}{1+", 300) + "1" + repeated("}", 300),
        repeated("\\sin(", 70) + "x" + repeated(")", 70), repeated("(x+1)", 700), repeated("2^{", 60) + "2" + repeated("}", 60),
        repeated("1,", 2000) + "1", repeated("|", 4000), repeated("\\text{", 700), repeated("\\pm 1+", 500) + "1",
        repeated("\\sqrt{2}+", 400) + "1", repeated("\\sin 1 \\cdot", 400) + "1", repeated("x!", 1000), repeated("\\cup", 900),
        "\\det" + repeated("[", 300), "\\begin{pmatrix}" + repeated("1&", 1500) + "1\\end{pmatrix}",
        repeated("-1\\sum_{k=1}^{9}", 8) + "-7z", "\\frac", "(\\frac)", "\\frac\\frac{", repeated("[0,1]\\cup", 400) + "[0,1]", std::string(3000, '\xff'), std::string("\\\0{5}", 5),
    };
    for (const std::string& answer : hostile) {
      for (const char* gold : {"5", "x^2+\\sin x", "(0,1)", "\\{1,2\\}", "\\sqrt{2}+\\sqrt{3}"}) {
        const double start = thread_ms();
        CHECK_FALSE(same_answer(answer, gold));
        CHECK_FALSE(same_answer(gold, answer));
        CAPTURE(answer.substr(0, 60));
        CAPTURE(gold);
        CHECK(thread_ms() - start < 20.0);  // two comparisons
      }
    }
  }

  TEST_CASE("hostile pairs, as fuzzing finds them, end within ten milliseconds") {
    const std::vector<std::pair<std::string, std::string>> pairs = {
        {"$x^ + y^2012 = 1/4$", "$x^2/012 = 1/4$"},
        {"x^{y^2012}", "x^{y^2011}"},
        {repeated("1e999+", 680) + "1", repeated("1e999+", 680) + "x"},
        {repeated("123456789*", 400) + "1", "5"},
        {repeated("\\begin{pmatrix}2&2&2&2\\\\2&2&2&2\\\\2&2&2&2\\\\2&2&2&2\\end{pmatrix}", 60), "5"},
        {"2^{4950}", "13^{4950}"},
        {"\\gcd(2006!, 2100!)", "7"},
        {"3993.42", "\\frac{5000}{(1+\\frac{0.025}{12})^{468}}"},
        {repeated("x/", 2000) + "x", repeated("x/", 2000) + "y"},
    };
    for (const auto& pair : pairs) {
      const auto& gold = pair.first;
      const auto& given = pair.second;
      CAPTURE(gold);
      const double start = thread_ms();
      CHECK_FALSE(same_answer(given, gold));
      CHECK(thread_ms() - start < 10.0);
    }
    CHECK(same_answer(repeated("\\{200\\}\\cup", 190) + "\\{3\\}", "\\{3,200\\}"));
    CHECK(same_answer("x^{2012}-y^{2012}", "(x^{1006}-y^{1006})(x^{1006}+y^{1006})"));
  }

  TEST_CASE("what has no value or is too dear is not the same as itself, what is only large is") {
    CHECK_FALSE(same_answer("1/0", "1/0"));
    CHECK_FALSE(same_answer("\\frac{5}{2-2}", "\\frac{5}{2-2}"));
    CHECK(same_answer("10^{10^{10}}", "10^{10^{10}}"));
    CHECK_FALSE(same_answer(std::string(5000, '1'), std::string(5000, '1')));
    CHECK_FALSE(same_answer("\\ln x \\cdot 0", "\\frac{1}{x-x}"));
  }
}
