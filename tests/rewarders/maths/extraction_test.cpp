#include "rewarders/maths/extraction.h"

#include <doctest/doctest.h>

#include <ctime>
#include <string>

using troupe::boxed_answer;
using troupe::final_answer;
using troupe::gold_answer;
using troupe::usual_answer_sources;

namespace {

/// The processor time of this thread: a busy machine must not fail the test.
double thread_ms() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
}

}  // namespace

TEST_SUITE("rewarders/maths/extraction") {
  TEST_CASE("the final answer is looked for in the sources' order, the last of each kind") {
    const std::string text = "<answer>1</answer> then \\boxed{2} and #### 3\nbut $6$ is also <answer> 4 </answer> 5.";

    CHECK(final_answer(text, {"tag", "boxed"}) == "4");
    CHECK(final_answer(text, {"boxed", "tag"}) == "2");
    CHECK(final_answer(text, {"hash"}) == "3");
    CHECK(final_answer(text, {"number"}) == "5");
    CHECK(final_answer(text, {"latex"}) == "6");
    CHECK(final_answer(text, {"last"}) == "5");
    CHECK_FALSE(final_answer("no answer here", usual_answer_sources()));
    CHECK_FALSE(final_answer("", usual_answer_sources()));
    CHECK_FALSE(final_answer("<answer>open", {"tag"}));
    CHECK(final_answer("<answer>so \\boxed{8}</answer>", {"tag"}) == "8");
    CHECK(final_answer("<answer>the answer is $9$</answer>", {"tag"}) == "9");
  }

  TEST_CASE("boxes that stand together are one list, others leave the last alone") {
    CHECK(boxed_answer("\\boxed{\\frac{1}{2}}") == "\\frac{1}{2}");
    CHECK(boxed_answer("\\boxed{1} and \\boxed{2}") == "1, 2");
    CHECK(boxed_answer("\\boxed{1} papers and \\boxed{2} bins") == "1, 2");
    CHECK(boxed_answer("\\boxed{1} no no no no no \\boxed{2}") == "2");
    CHECK(boxed_answer("\\boxed{3}, again \\boxed{3}") == "3");
    CHECK(boxed_answer("\\boxed{\\{1,2\\}}") == "\\{1,2\\}");
    CHECK(boxed_answer("\\fbox{7}") == "7");
    CHECK(boxed_answer("\\boxed 5.") == "5");
    CHECK_FALSE(boxed_answer("\\boxed{1"));
    CHECK_FALSE(boxed_answer("no box"));
  }

  TEST_CASE("a final answer that is said behind the box counts, one before it does not") {
    CHECK(final_answer("\\boxed{200} so the final answer is $10455$. I hope it is correct.", {"boxed"}) == "10455");
    CHECK(final_answer("The final answer is: \\boxed{840}", {"boxed"}) == "840");
  }

  TEST_CASE("what follows the phrase is taken to the end of the sentence") {
    CHECK(final_answer("So the answer is 34.", {"phrase"}) == "34");
    CHECK(final_answer("**Answer:** 3/4", {"phrase"}) == "3/4");
    CHECK(final_answer("Final Answer: The largest $n$ is 34.", {"phrase"}) == "34");
    CHECK(final_answer("The answer is 12 because 5 + 7 = 12. Done.", {"phrase"}) == "12");
    CHECK(final_answer("The answer is $x = 5$ or so", {"phrase"}) == "x = 5");
    CHECK(final_answer("the answer is Paris.", {"phrase"}) == "Paris");
    CHECK(final_answer("The answer is (C) 12", {"phrase"}) == "(C) 12");
    CHECK_FALSE(final_answer("34", {"phrase"}));
  }

  TEST_CASE("numbers of running text are taken with sign, separators and percent, not out of words") {
    CHECK(final_answer("it costs $1,000.99 in all", {"number"}) == "1,000.99");
    CHECK(final_answer("9=189.", {"number"}) == "189");
    CHECK(final_answer("about 28 percent", {"number"}) == "28\\%");
    CHECK(final_answer("at -7 degrees", {"number"}) == "-7");
    CHECK(final_answer("P(A) = 2/3 <end>", {"number"}) == "2/3");
    CHECK_FALSE(final_answer("AZYUK2A", {"number"}));
  }

  TEST_CASE("formulas that are joined are one answer") {
    CHECK(final_answer("either $1$ and $2$, or $3$", {"latex"}) == "1, 2, 3");
    CHECK(final_answer("from $1$ we get $2$", {"latex"}) == "2");
    CHECK(final_answer("\\( 9 \\) then \\[ 10 \\]", {"latex"}) == "10");
    CHECK(final_answer("it is \\frac{10}{9} in all", {"latex"}) == "\\frac{10}{9}");
  }

  TEST_CASE("a gold is its box or what it says") {
    CHECK(gold_answer("We get $x = \\boxed{28}$ percent.") == "28");
    CHECK(gold_answer("\\boxed{W(n) = 1") == "W(n) = 1");
    CHECK(gold_answer(" 42 ") == "42");
    CHECK(gold_answer("long text. The final answer is $28 \\%$. I hope it is correct.") == "28 \\%");
  }

  TEST_CASE("a long completion costs no more than a millisecond for 10,000 bytes") {
    const std::string text[] = {std::string(300'000, '$'), std::string(300'000, '1'), std::string(300'000, '{'), [] {
                                  std::string boxes;
                                  while (boxes.size() < 300'000) boxes += "\\boxed{";
                                  return boxes;
                                }(), [] {
                                  std::string formulas;
                                  while (formulas.size() < 300'000) formulas += "answer is $1$ \\( ";
                                  return formulas;
                                }()};
    for (const std::string& completion : text) {
      const double start = thread_ms();
      (void)final_answer(completion, usual_answer_sources());
      CAPTURE(completion.substr(0, 20));
      CHECK(thread_ms() - start < 30.0);
    }
  }
}
