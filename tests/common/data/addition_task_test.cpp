#include "common/data/addition_task.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <string>
#include <utility>

#include "common/base/error.h"

using troupe::AdditionTask;
using troupe::ConfigError;
using troupe::open_rows;
using Split = troupe::AdditionTask::Split;

namespace {

using Pair = std::pair<std::int64_t, std::int64_t>;

Pair unordered(Pair pair) { return {std::min(pair.first, pair.second), std::max(pair.first, pair.second)}; }

std::set<Pair> pairs_of(const AdditionTask& task) {
  std::set<Pair> pairs;
  for (std::uint64_t i = 0; i < task.size(); ++i) pairs.insert(unordered(task.operands(i)));
  return pairs;
}

}  // namespace

TEST_SUITE("data/addition_task") {
  TEST_CASE("the columns are written out from the units on with their carries") {
    CHECK(troupe::addition_completion(437, 285, 3) ==
          "<think> 7+5+0=12 3+8+1=12 4+2+1=07 </think> <answer> 722 </answer>");
    CHECK(troupe::addition_completion(999, 901, 3) ==
          "<think> 9+1+0=10 9+0+1=10 9+9+1=19 </think> <answer> 1900 </answer>");
    CHECK(troupe::addition_completion(10, 25, 2) == "<think> 0+5+0=05 1+2+0=03 </think> <answer> 35 </answer>");
  }

  TEST_CASE("the careless teacher forgets every carry, in three rows of four") {
    CHECK(troupe::addition_completion(437, 285, 3, false) ==
          "<think> 7+5+0=12 3+8+0=11 4+2+0=06 </think> <answer> 612 </answer>");
    CHECK(troupe::addition_completion(123, 456, 3, false) == troupe::addition_completion(123, 456, 3, true));
    CHECK(troupe::addition_completion(999, 901, 3, false) ==
          "<think> 9+1+0=10 9+0+0=09 9+9+0=18 </think> <answer> 1890 </answer>");
    int careless = 0;
    for (std::uint64_t i = 0; i < 8192; ++i) careless += troupe::forgets_carries(3, i);
    CHECK(std::abs(careless / 8192.0 - 0.75) < 0.015);  // three standard deviations of 8,192 draws
  }

  TEST_CASE("rows have question and gold, in the cold start prompt and completion too") {
    for (const char* split : {"train", "held_out", "cold_start"}) {
      const auto rows = open_rows(std::string("task:addition3/") + split, 7);
      const auto row = rows->in_order(4);
      CHECK(row.where == std::string("task:addition3/") + split + ":5");
      const auto question = row.json["question"].get<std::string>();
      CHECK(question.size() == 8);
      CHECK(question[3] == '+');
      CHECK(question[7] == '=');
      const int a = std::stoi(question.substr(0, 3));
      const int b = std::stoi(question.substr(4, 3));
      CHECK(troupe::gold_of(row.json) == std::to_string(a + b));
      CHECK(troupe::question_of(row, "") == question);
      CHECK(row.json.contains("completion") == (std::string(split) == "cold_start"));
      if (row.json.contains("completion")) {
        const bool carries = !troupe::forgets_carries(7, 4);
        CHECK(troupe::sft_pair_of(row) == std::pair(question, troupe::addition_completion(a, b, 3, carries)));
      }
    }
  }

  TEST_CASE("sizes are fixed, operands have all their digits, and every digit count is a task") {
    for (const int digits : {2, 3, 4}) {
      const AdditionTask train(digits, Split::kTrain, 1);
      CHECK(train.size() == 4096);
      CHECK(AdditionTask(digits, Split::kColdStart, 1).size() == 8192);
      CHECK(AdditionTask(digits, Split::kHeldOut, 1).size() == 512);
      for (std::uint64_t i = 0; i < train.size(); ++i) {
        const auto [a, b] = train.operands(i);
        CHECK(std::to_string(a).size() == static_cast<std::size_t>(digits));
        CHECK(std::to_string(b).size() == static_cast<std::size_t>(digits));
      }
    }
  }

  TEST_CASE("no pair of operands of the held-out rows is in another split in either order, whatever the seed") {
    for (const int digits : {2, 3, 4}) {
      const auto held_out = pairs_of(AdditionTask(digits, Split::kHeldOut, 1));
      for (std::uint64_t seed = 1; seed <= 5; ++seed) {
        for (const Split split : {Split::kTrain, Split::kColdStart}) {
          for (const Pair& pair : pairs_of(AdditionTask(digits, split, seed))) {
            REQUIRE(held_out.count(pair) == 0);
            REQUIRE_FALSE(troupe::is_held_out(pair.second, pair.first));
          }
        }
      }
    }
  }

  TEST_CASE("about one pair in eight is held out, of every sum's residue") {
    int held_out = 0;
    int of_residue[10] = {};
    for (std::int64_t a = 100; a < 1000; ++a) {
      for (std::int64_t b = a; b < 1000; ++b) {
        const bool held = troupe::is_held_out(a, b);
        held_out += held;
        of_residue[(a + b) % 10] += held;
        if (held != troupe::is_held_out(b, a)) FAIL("the order of the operands matters");
      }
    }
    const double share = held_out / (900.0 * 901.0 / 2.0);  // standard deviation 0.0005
    CHECK(std::abs(share - 0.125) < 0.0025);
    for (const int count : of_residue) CHECK(count == doctest::Approx(held_out / 10.0).epsilon(0.06));
  }

  TEST_CASE("held-out rows differ from one another and are the same for every seed; the others follow the seed") {
    const AdditionTask held_out(3, Split::kHeldOut, 1);
    std::set<Pair> different;
    for (std::uint64_t i = 0; i < held_out.size(); ++i) different.insert(held_out.operands(i));
    CHECK(different.size() == 512);
    CHECK(pairs_of(held_out) == pairs_of(AdditionTask(3, Split::kHeldOut, 2)));
    CHECK(pairs_of(AdditionTask(3, Split::kTrain, 1)) != pairs_of(AdditionTask(3, Split::kTrain, 2)));
    CHECK(pairs_of(AdditionTask(3, Split::kColdStart, 1)) != pairs_of(AdditionTask(3, Split::kTrain, 1)));
  }

  TEST_CASE("an unknown task or split is refused with the known ones") {
    CHECK_THROWS_WITH_AS(open_rows("task:addition3/test", 1), doctest::Contains("addition3/held_out"), ConfigError);
    CHECK_THROWS_WITH_AS(open_rows("task:addition3", 1), doctest::Contains("addition3/held_out"), ConfigError);
    CHECK_THROWS_WITH_AS(open_rows("task:chess/train", 1), doctest::Contains("there is no such task"), ConfigError);
  }
}
