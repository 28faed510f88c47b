#include "rewarders/maths/choices.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>

#include "rewarders/maths/extraction.h"

using namespace troupe;

TEST_SUITE("rewarders/maths/choices") {
  TEST_CASE("a gold of one capital letter is a choice, in whatever wrappers") {
    for (const char* gold : {"C", "(C)", "\\text{C}", "\\textbf{(J)}", "$A$"}) CHECK_MESSAGE(is_choice_gold(gold), gold);
    for (const char* gold : {"c", "K", "CD", "5", "", "C + 1", "\\text{(C) 12}"}) CHECK_FALSE_MESSAGE(is_choice_gold(gold), gold);
  }

  TEST_CASE("the letter that is stated, begun with or named last is the choice") {
    const std::pair<const char*, const char*> kCases[] = {
        // lighteval's tests/unit/metrics/test_extractive_match.py (MIT, Copyright (c) 2024 The HuggingFace Team)
        {"thinking about it I think the correct answer is C", "C"},
        {"Let's think step by step. It's not A because it doesn't make sense, therefore I think it's B", "B"},
        {"The answer is for sure D, it can't be A or B", "D"},
        {"The answer: D, it doesn't make sense for it to be A or B", "D"},
        {"D. it can't be A or B", "D"},
        {"réponse est C non A", "C"},
        {"B。 不是 A", "B"},
        {"B。不是 A", "B"},
        {"B不是 A", "B"},
        // others
        {"答案是B", "B"},
        {"The correct option is (C).", "C"},
        {"A is not the answer because B fits.\nAnswer: B", "B"},
        {"The answer is not A. Hence the answer is E", "E"},
        {"**C**", "C"},
        {"(D)", "D"},
        {"A cat has nine lives, so B", "B"},
        {"The answer is A", "A"},
        {"The answer is \\boxed{C}, not option D.", "C"},  // a box stands before what is said
        {"<answer>B</answer> or option D", "B"},
    };
    for (const auto& one : kCases) CHECK_MESSAGE(final_answer(one.first, usual_answer_sources(), true) == one.second, one.first);
  }

  TEST_CASE("words are no choices, and what states no letter is read as ever") {
    CHECK_FALSE(stated_choice("The answer is a Cat."));
    CHECK_FALSE(stated_choice("A good answer is long"));
    CHECK_FALSE(named_choice("A cat. I think so. ABC, \\Delta, x_A"));
    CHECK_FALSE(named_choice("It is Élan"));
    CHECK(final_answer("The answer is 12.", usual_answer_sources(), true) == "12");
    CHECK(final_answer("The answer is 12, as in B", usual_answer_sources(), false) == "12");
    CHECK(stated_choice(std::string(200'000, 'x') + " answer: B") == 'B');
  }
}
