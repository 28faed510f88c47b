#include "learner/stages/packed_texts.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/files.h"
#include "tests/learner/temporary_folder.h"

using namespace troupe;

namespace {

constexpr std::int32_t kEnd = 0;

/// The texts of a unit's sequences, the end-of-text token as '|'.
std::vector<std::string> texts_of(const Tokenizer& tokenizer, const SupervisedUnit& unit) {
  std::vector<std::string> texts;
  for (const SftExample& example : unit) {
    CHECK(example.prompt.size() == 1);
    CHECK(example.trained.empty());
    std::string& text = texts.emplace_back();
    for (const auto& ids : {example.prompt, example.completion}) {
      for (const std::int32_t id : ids) text += id == kEnd ? "|" : tokenizer.decode(std::vector<std::int32_t>{id}, false);
    }
  }
  return texts;
}

using Units = std::vector<std::vector<std::string>>;

struct Corpus {
  TemporaryFolder folder;
  Tokenizer tokenizer = Tokenizer::from_json(character_tokenizer_json(), "characters");
  Logger logger{"test", LogLevel::kError};

  std::string file(const std::string& name, const std::string& content) {
    write_file_atomically(folder.path() / name, content);
    return (folder.path() / name).string();
  }
  PackedTexts packed(const std::string& spec, std::int64_t tokens, std::uint64_t seed = 1) {
    return PackedTexts("data.train", spec, tokenizer, kEnd, tokens, seed, logger);
  }
  Units in_order(const PackedTexts& texts) {
    Units units;
    for (std::uint64_t i = 0; i < texts.size(); ++i) units.push_back(texts_of(tokenizer, texts.in_order(i)));
    return units;
  }
};

}  // namespace

TEST_SUITE("stages/packed_texts") {
  TEST_CASE("documents fill each unit without padding; a part begins with the last id of the part before") {
    Corpus corpus;
    const std::string rows =
        corpus.file("a.jsonl", "{\"text\": \"abcdefgh\"}\n{\"text\": \"ij\"}\n{\"text\": \"\"}\n{\"text\": \"klm\"}\n");

    CHECK(corpus.in_order(corpus.packed(rows, 5)) == Units{{"abcde"}, {"efgh|"}, {"ij|", "kl"}, {"lm|"}});
    // One place left over cannot hold a token and the one before it.
    CHECK(corpus.in_order(corpus.packed(rows, 4)) == Units{{"abcd"}, {"defg"}, {"gh|"}, {"ij|"}, {"klm|"}});
    CHECK(corpus.in_order(corpus.packed(rows, 100)) == Units{{"abcdefgh|", "ij|", "klm|"}});
  }

  TEST_CASE("a plain file is one document, rows of another file are documents of their own, and units hold one file's") {
    Corpus corpus;
    const std::string text = corpus.file("a.txt", "one\ntwo");
    const std::string rows = corpus.file("b.jsonl", "{\"text\": \"x\"}\n{\"text\": \"y\"}\n");

    CHECK(corpus.in_order(corpus.packed(text + "," + rows, 6)) == Units{{"one\ntw"}, {"wo|"}, {"x|", "y|"}});
  }

  TEST_CASE("each epoch has every unit once, in an order that the seed and the epoch give; weights share out the numbers") {
    Corpus corpus;
    std::string text;
    for (int i = 0; i < 41; ++i) text += static_cast<char>('A' + i % 26);
    const std::string a = corpus.file("a.txt", text);
    const std::string b = corpus.file("b.txt", "0123456789");
    const PackedTexts texts = corpus.packed(a, 3);
    REQUIRE(texts.size() == 21);  // 41 characters and the end: each unit predicts two

    const auto order = [&](const PackedTexts& of, std::uint64_t begin, std::uint64_t end) {
      Units units;
      for (std::uint64_t n = begin; n < end; ++n) units.push_back(texts_of(corpus.tokenizer, of.at(n)));
      return units;
    };
    const auto sorted = [](Units units) {
      std::sort(units.begin(), units.end());
      return units;
    };
    const Units first = order(texts, 0, 21);
    CHECK(sorted(first) == sorted(corpus.in_order(texts)));
    CHECK(sorted(order(texts, 21, 42)) == sorted(first));
    CHECK(order(texts, 21, 42) != first);
    CHECK(order(corpus.packed(a, 3), 0, 21) == first);
    CHECK(order(corpus.packed(a, 3, 2), 0, 21) != first);

    const PackedTexts mixed = corpus.packed(a + ":3," + b + ":1", 3);
    int digits = 0;
    for (std::uint64_t n = 0; n < 1024; ++n) {
      const char begin = texts_of(corpus.tokenizer, mixed.at(n))[0][0];
      digits += begin >= '0' && begin <= '9' ? 1 : 0;
    }
    CHECK(digits == 256);
  }

  TEST_CASE("what has no text is refused by name") {
    Corpus corpus;
    const std::string empty = corpus.file("empty.txt", "");
    const std::string other = corpus.file("other.jsonl", "{\"text\": \"a\"}\n{\"question\": \"b\"}\n");
    const std::string bytes = corpus.file("bytes.txt", "\xff\xfe");

    CHECK_THROWS_WITH_AS(corpus.packed(empty, 8), ("data.train: " + empty + ": expected text, found none").c_str(), ConfigError);
    CHECK_THROWS_WITH_AS(corpus.packed(other, 8), (other + ":2: expected the key \"text\", found question").c_str(), ConfigError);
    CHECK_THROWS_WITH_AS(corpus.packed(bytes, 8), doctest::Contains((bytes + ": ").c_str()), ConfigError);
    CHECK_THROWS_AS(corpus.packed((corpus.folder.path() / "none.txt").string(), 8), ConfigError);
  }
}
