#include "rewarders/language/language_share.h"

#include <doctest/doctest.h>

#include <fstream>
#include <map>

#include <nlohmann/json.hpp>

namespace troupe {

TEST_SUITE("rewarders/language/language_share") {
  TEST_CASE("questions in eleven languages are in their own language and in no other") {
    std::ifstream file(std::string(TROUPE_TEST_DATA) + "/data/lang/mgsm_sample.jsonl");
    REQUIRE(file);
    std::map<std::string, std::string> one;  // of each language
    int rows = 0;
    for (std::string line; std::getline(file, line); ++rows) {
      const auto row = nlohmann::json::parse(line);
      const std::string question = row["question"];
      CAPTURE(question);
      one[row["lang"]] = question;
      CHECK(language_of(question) == row["lang"].get<std::string>());
      CHECK(language_share(question, row["lang"]).value_or(0) >= 0.92);  // names in Latin letters are in other languages
    }
    CHECK(rows == 66);
    for (const auto& [lang, question] : one) {
      for (const auto& [other, unused] : one) {
        CAPTURE(lang);
        CAPTURE(other);
        if (lang != other) CHECK(language_share(question, other).value_or(1) <= 0.05);
      }
    }
  }

  TEST_CASE("a text in two languages has a share of each") {
    const std::string english = "First we add the two numbers together and then divide the result by three. ";
    const std::string chinese = "首先我们把这两个数字相加，然后再把结果除以三，得到最后的答案。";
    const std::string german = "Zuerst zählen wir die beiden Zahlen zusammen und teilen dann das Ergebnis durch drei. ";

    CHECK(language_share(english + chinese, "en").value() + language_share(english + chinese, "zh").value() == doctest::Approx(1.0));
    CHECK(language_share(english + chinese, "en").value() == doctest::Approx(0.5).epsilon(0.1));
    CHECK(language_share(english + german + english, "en").value() == doctest::Approx(2.0 / 3).epsilon(0.1));
  }

  TEST_CASE("code, formulas and names in code do not count") {
    const std::string text = "我们先写一个函数来计算结果，`return value` 表示返回值。\n```python\nfor item in values: print(item)\n```\n"
                             "因此 $x = \\text{the sum}$，\\(a + b\\)，变量 my_var2 与 x 相等。\\boxed{42}";

    CHECK(language_share(text, "zh") == 1.0);
    CHECK(language_share(text + " This is the answer", "zh").value() < 1.0);
  }

  TEST_CASE("short texts go by their script, empty ones have no share") {
    CHECK(language_share("Hello", "en") == 1.0);
    CHECK(language_share("Hello", "zh") == 0.0);
    CHECK(language_share("好", "zh") == 1.0);
    CHECK_FALSE(language_share("12 + 30 = 42", "en").has_value());
    CHECK_FALSE(language_share("", "en").has_value());
    CHECK(language_share("\xff\xfe hello there my dear friend", "en") == 1.0);
  }

  TEST_CASE("languages go by code or by name") {
    CHECK(language_code("en") == "en");
    CHECK(language_code("zh-CN") == "zh");
    CHECK(language_code("Swahili") == "sw");
    CHECK_FALSE(language_code("klingonese").has_value());
  }
}

}  // namespace troupe
