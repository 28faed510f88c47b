#include "rewarders/language/language_share.h"

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <utility>
#include <vector>

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

  TEST_CASE("sentences of languages that share a script are told apart, also short ones") {
    const std::map<std::string, std::vector<std::string>> sentences = {
        {"de", {"Zuerst zählen wir die beiden Zahlen zusammen.", "Sie hat noch drei Eier.", "Wie viel kosten acht Stifte?"}},
        {"nl", {"Eerst tellen we de twee getallen bij elkaar op.", "Ze heeft nog drie eieren.", "Hoeveel kosten acht pennen?"}},
        {"es", {"Primero sumamos los dos números.", "Ella todavía tiene tres huevos.", "¿Cuánto cuestan ocho lápices?"}},
        {"pt", {"Primeiro somamos os dois números.", "Ela ainda tem três ovos.", "Então não sobra nada."}},
        {"it", {"Prima sommiamo i due numeri.", "Lei ha ancora tre uova.", "Quanto costano otto matite?"}},
        {"fr", {"D'abord nous additionnons les deux nombres.", "Elle a encore trois œufs.", "Combien coûtent huit crayons ?"}},
        {"en", {"First we add the two numbers.", "She still has three eggs.", "How much do eight pencils cost?"}},
        {"ru", {"Сначала мы складываем два числа.", "У неё ещё есть три яйца.", "Сколько стоят восемь карандашей?"}},
        {"uk", {"Спочатку ми додаємо два числа.", "У неї ще є три яйця.", "Скільки коштують вісім олівців?"}},
        {"zh", {"首先我们把两个数字相加。", "她还有三个鸡蛋。", "八支铅笔多少钱？"}},
        {"ja", {"まず二つの数を足します。", "卵はまだ三個あります。", "鉛筆八本はいくらですか？"}},
        {"ko", {"먼저 두 수를 더합니다.", "그녀는 아직 달걀이 세 개 있습니다.", "연필 여덟 자루는 얼마입니까?"}}};
    const std::pair<const char*, const char*> kPairs[] = {{"de", "nl"}, {"es", "pt"}, {"es", "it"}, {"fr", "en"}, {"en", "de"}, {"ru", "uk"}, {"zh", "ja"}, {"ja", "ko"}, {"zh", "ko"}};
    for (const auto& [lang, all] : sentences) {
      for (const std::string& sentence : all) {
        CAPTURE(sentence);
        CHECK(language_share(sentence, lang) == 1.0);
      }
    }
    for (const auto& [one, other] : kPairs) {
      std::string both;
      for (std::size_t i = 0; i < 3; ++i) {
        CAPTURE(sentences.at(one)[i]);
        CHECK(language_share(sentences.at(one)[i], other) == 0.0);
        both += sentences.at(one)[i] + " $x + 1$ " + sentences.at(other)[i] + "\n`a = b`\n";
      }
      CAPTURE(both);
      CHECK(language_share(both, one).value() + language_share(both, other).value() == doctest::Approx(1.0));
      CHECK(language_share(both, one).value() == doctest::Approx(0.5).epsilon(0.2));
    }
  }

  TEST_CASE("a language within a sentence goes by its script, sums of money are no formulas") {
    CHECK(language_share("Let us 计算 the total 数量 now", "en") == doctest::Approx(5.0 / 7));
    CHECK(language_share("Let us 计算 the total 数量 now", "zh") == doctest::Approx(2.0 / 7));
    CHECK(language_share("She pays $140 every month, and $x^2$ is what he pays. 그는 돈이 없습니다.", "ko").value() == doctest::Approx(3.0 / 12).epsilon(0.1));
    CHECK(language_share("Une voiture coûte 8 $, et combien de voitures a-t-elle pour 9 $, alors ? 그는 돈이 없습니다.", "fr").value() > 0.7);
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
