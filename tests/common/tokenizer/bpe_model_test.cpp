#include "common/tokenizer/bpe_model.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "common/tokenizer/word_cache.h"

using namespace troupe;
using Ids = std::vector<std::int32_t>;

namespace {

const std::string kSpace = "\xE2\x96\x81";

/// Merges over a, b, c and the space, of which `crossing` ones join something with a space behind it.
nlohmann::json model_json(bool crossing) {
  nlohmann::json json = {{"type", "BPE"}, {"unk_token", "?"}, {"fuse_unk", true}, {"vocab", nlohmann::json::object()}, {"merges", nlohmann::json::array()}};
  const auto token = [&](const std::string& text) { json["vocab"].emplace(text, json["vocab"].size()); };
  for (const std::string& text : {std::string("?"), std::string("a"), std::string("b"), std::string("c"), kSpace}) token(text);
  const auto merge = [&](const std::string& left, const std::string& right) {
    token(left + right);
    json["merges"].push_back({left, right});
  };
  merge("a", "b");
  merge(kSpace, "a");
  if (crossing) merge("c", kSpace);
  merge(kSpace, "ab");
  merge("b", "c");
  merge("ab", "c");
  merge("b", "b");
  merge("bb", "bb");
  merge(kSpace + "a", "b");
  return json;
}

std::string random_text(std::mt19937& random, std::size_t characters) {
  const std::vector<std::string> alphabet = {"a", "b", "b", "c", kSpace, "x"};
  std::string text;
  for (std::size_t i = 0; i < characters; ++i) text += alphabet[random() % alphabet.size()];
  return text;
}

/// Byte-pair encoding as its definition reads: the lowest merge, the leftmost of equals, until there is none.
Ids by_definition(const nlohmann::json& json, const std::string& text) {
  std::map<std::pair<std::string, std::string>, std::size_t> ranks;
  for (const auto& merge : json["merges"]) ranks.emplace(std::pair(merge[0], merge[1]), ranks.size());
  std::vector<std::string> symbols;
  for (std::size_t i = 0; i < text.size();) {
    const std::string one = text.substr(i, text.compare(i, 3, kSpace) == 0 ? 3 : 1);
    i += one.size();
    const bool known = json["vocab"].contains(one);
    if (known || symbols.empty() || symbols.back() != "?") symbols.push_back(known ? one : "?");
  }
  for (;;) {
    std::size_t best = symbols.size();
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks.find({symbols[i], symbols[i + 1]});
      if (found != ranks.end() && (best == symbols.size() || found->second < ranks.at({symbols[best], symbols[best + 1]}))) best = i;
    }
    if (best == symbols.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  Ids ids;
  for (const std::string& symbol : symbols) ids.push_back(json["vocab"][symbol]);
  return ids;
}

std::vector<std::string> words_of(const BpeModel& model, const std::string& text) {
  std::vector<std::string> words;
  model.for_each_word(text, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

}  // namespace

TEST_SUITE("tokenizer/bpe_model") {
  TEST_CASE("short and long pieces are encoded as the definition says") {
    const nlohmann::json json = model_json(true);
    const BpeModel model = BpeModel::from_json(json, "t");
    std::mt19937 random(7);
    for (std::size_t characters = 1; characters <= 120; ++characters) {
      const std::string text = random_text(random, characters);
      Ids ids;
      model.encode(text, ids);
      CHECK_MESSAGE(ids == by_definition(json, text), text);
    }
  }

  TEST_CASE("a piece is cut into words exactly where no merge joins, and the words' ids are the piece's") {
    for (const bool crossing : {false, true}) {
      const BpeModel model = BpeModel::from_json(model_json(crossing), "t");
      std::mt19937 random(8);
      for (int i = 0; i < 200; ++i) {
        const std::string text = random_text(random, 60);
        Ids whole, parts;
        model.encode(text, whole);
        for (const std::string& word : words_of(model, text)) model.encode(word, parts);
        CHECK_MESSAGE(whole == parts, text);
      }
    }
    const BpeModel crossing = BpeModel::from_json(model_json(true), "t");
    CHECK(words_of(crossing, "ab" + kSpace + "c" + kSpace + "a") == std::vector<std::string>{"ab", kSpace + "c" + kSpace + "a"});
    CHECK(words_of(crossing, kSpace + kSpace + "a") == std::vector<std::string>{kSpace, kSpace + "a"});
  }

  TEST_CASE("with ignore_merges a piece stays whole: it may be a token of its own") {
    nlohmann::json json = model_json(false);
    json["ignore_merges"] = true;
    CHECK(words_of(BpeModel::from_json(json, "t"), "b" + kSpace + "a").size() == 1);
  }
}

TEST_SUITE("tokenizer/word_cache") {
  TEST_CASE("what was inserted is found, also after it has started anew, and nothing else") {
    WordCache cache;
    CHECK(cache.find("word").data() == nullptr);
    const auto name = [](int i) { return "w" + std::to_string(i); };
    for (int i = 0; i < 100'000; ++i) {  // three times its room
      if (cache.find(name(i)).data() == nullptr) cache.insert(name(i), Ids{i, -i});
      const auto found = cache.find(name(i));
      REQUIRE(found.size() == 2);
      REQUIRE(found[0] == i);
      REQUIRE(found[1] == -i);
    }
    CHECK(cache.find("w").data() == nullptr);
    CHECK(cache.find("w100000").data() == nullptr);
    CHECK(std::ranges::equal(cache.find("w99999"), Ids{99999, -99999}));
  }
}
