#include "rewarders/code/program.h"

#include <doctest/doctest.h>

namespace troupe {

TEST_SUITE("rewarders/code/program") {
  TEST_CASE("the program is the last fenced block, or else the whole") {
    struct Case {
      const char* completion;
      const char* text;
      std::optional<Language> language;
    };
    const Case cases[] = {
        {"    return 1", "    return 1", std::nullopt},
        {"```python\na\n```\n", "a\n", Language::kPython},
        {"```\na\n```\nor\n```C++ \nb\nc\n```", "b\nc\n", Language::kCpp},
        {"```py\na\n```\n```python\nb", "b\n", Language::kPython},
        {"```py\na\n```\n```", "a\n", Language::kPython},
        {"use ```a``` there", "use ```a``` there", std::nullopt},
    };

    for (const Case& c : cases) {
      CAPTURE(c.completion);
      const auto program = program_of(c.completion);
      REQUIRE(program);
      CHECK(program->text == c.text);
      CHECK(program->language == c.language);
    }
    CHECK_FALSE(program_of(" \n"));
    CHECK_FALSE(program_of("```\n\n```"));
  }

  TEST_CASE("languages go by the words of fences") {
    CHECK(language_named("Python3") == Language::kPython);
    CHECK(language_named(" cxx ") == Language::kCpp);
    CHECK_FALSE(language_named("c").has_value());
    CHECK_FALSE(language_named("").has_value());
  }

  TEST_CASE("a completion continues the prompt, unless it defines the entry point") {
    const std::string prompt = "from typing import List\nimport math\n\ndef f(a):\n    \"\"\"Doc.\"\"\"\n";
    const std::string imports = "from typing import List\nimport math\n";

    CHECK(completed_prompt(prompt, "    return a\n", "f") == prompt + "    return a\n");
    CHECK(completed_prompt(prompt, "def f(a):\n    return a\n", "f") == imports + "def f(a):\n    return a\n");
    CHECK(completed_prompt(prompt, "async def f(a): pass", "f") == imports + "async def f(a): pass");
    CHECK(completed_prompt(prompt, "f = abs", "f") == imports + "f = abs");
    CHECK(completed_prompt(prompt, "    f == 1\n", "f") == prompt + "    f == 1\n");
    CHECK(completed_prompt(prompt, "def f2(a): pass", "f") == prompt + "def f2(a): pass");
    CHECK(completed_prompt(prompt, "from __future__ import annotations\ndef f(a): pass", "f") == "from __future__ import annotations\ndef f(a): pass");
  }
}

}  // namespace troupe
