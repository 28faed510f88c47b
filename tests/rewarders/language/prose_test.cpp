#include "rewarders/language/prose.h"

#include <doctest/doctest.h>

namespace troupe {

TEST_SUITE("rewarders/language/prose") {
  TEST_CASE("the chain of thought ends where its tag does, and begins where its tag does or with the text") {
    CHECK(thought_of("a <think>b</think> c") == "b");
    CHECK(thought_of("b</think> c") == "b");
    CHECK(thought_of("<think>b") == "b");
    CHECK(thought_of("b") == "b");
  }

  TEST_CASE("what is in no language becomes a space") {
    CHECK(prose_of("a `b c` d") == "a   d");
    CHECK(prose_of("x\n```py\ny\n```\nz") == "x\n \nz");
    CHECK(prose_of("so $x + y$ is") == "so   is");
    CHECK(prose_of("pay $2 for one and $5 for two") == "pay $2 for one and $5 for two");
    CHECK(prose_of("\\(a\\) \\[b\\] $$c$$ d") == "      d");
    CHECK(prose_of("\\begin{align}x\\end{align}y") == " y");
    CHECK(prose_of("a <b>c</b> https://d.e/f g") == "a  c    g");
    CHECK(prose_of("a < b") == "a < b");
    CHECK(prose_of("`open") == "`open");
    CHECK(prose_of("a\xff") == "a\xef\xbf\xbd");
  }

  TEST_CASE("words are runs of letters of one script, names in code are none") {
    const auto words = words_of("Two 好的 x var_1 a1b été кот");

    REQUIRE(words.size() == 4);
    CHECK(words[0] == Word{0, 3, Script::kLatin, 1});
    CHECK(words[1] == Word{4, 6, Script::kHan, 1});
    CHECK(words[2].script == Script::kLatin);
    CHECK(words[2].bytes == 5);
    CHECK(words[3].script == Script::kCyrillic);
    CHECK(words_of("GB DNA NATO ABCDE").size() == 1);
    CHECK(words_of("ภาษาไทย").at(0).weight == 1.75);
  }
}

}  // namespace troupe
