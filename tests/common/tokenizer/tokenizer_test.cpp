#include "common/tokenizer/tokenizer.h"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/strict_json.h"

using troupe::ConfigError;
using troupe::Tokenizer;
using Ids = std::vector<std::int32_t>;

namespace {

const std::string kData = std::string(TROUPE_TEST_DATA) + "/data/";

/// A BPE over a b c and their merges ab (rank 0), bc (1), abc from ab+c (2), with `changes` merged in.
std::string small_json(const nlohmann::json& changes = nlohmann::json::object()) {
  nlohmann::json json = nlohmann::json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
    "post_processor": null, "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "unk_token": null, "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5},
              "merges": ["a b", ["b", "c"], "ab c"]}})");
  json.merge_patch(changes);
  return json.dump();
}

Ids encoded(const std::string& json, const std::string& text) {
  return Tokenizer::from_json(json, "t").encode(text, false);
}

nlohmann::json added(std::int32_t id, const std::string& content,
                     const nlohmann::json& flags = nlohmann::json::object()) {
  nlohmann::json token = {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
                          {"rstrip", false}, {"normalized", false}, {"special", false}};
  token.update(flags);
  return token;
}

void check_refused(const std::string& json, const std::string& part_of_message) {
  CHECK_THROWS_WITH_AS(Tokenizer::from_json(json, "dir/tokenizer.json"), doctest::Contains(part_of_message.c_str()),
                       ConfigError);
  CHECK_THROWS_WITH_AS(Tokenizer::from_json(json, "dir/tokenizer.json"), doctest::Contains("dir/tokenizer.json"),
                       ConfigError);
}

}  // namespace

TEST_SUITE("tokenizer/tokenizer") {
  TEST_CASE("ids and texts are those of Hugging Face tokenizers") {
    const std::string path = std::string(TROUPE_TEST_DATA) + "/parity/tokenizer_golden.jsonl";
    std::map<std::string, Tokenizer> tokenizers;
    tokenizers.emplace("tinystories-656k", Tokenizer::load(kData + "tinystories-656k"));
    tokenizers.emplace("byte-level", Tokenizer::load(kData + "byte-level"));
    tokenizers.emplace("characters", Tokenizer::from_json(troupe::character_tokenizer_json(), "characters"));
    const std::string golden = troupe::read_file(path);

    int rows = 0;
    for (std::size_t begin = 0; begin < golden.size(); begin = golden.find('\n', begin) + 1, ++rows) {
      const auto row = troupe::parse_json(golden.substr(begin, golden.find('\n', begin) - begin), path);
      const Tokenizer& tokenizer = tokenizers.at(row["tokenizer"]);
      const auto text = row["text"].get<std::string>();
      CAPTURE(row.dump());
      const Ids ids = tokenizer.encode(text, false);
      CHECK(ids == row["ids"].get<Ids>());
      CHECK(tokenizer.encode(text, true) == row["ids_with_special"].get<Ids>());
      CHECK(tokenizer.decode(ids, false) == row["decoded"].get<std::string>());
      CHECK(tokenizer.decode(ids, true) == row["decoded_without_special"].get<std::string>());
    }
    CHECK(rows == 201);
  }

  TEST_CASE("the merge of lowest rank goes first, the leftmost of equal ones, and merges build on merges") {
    CHECK(encoded(small_json(), "abc") == Ids{5});
    CHECK(encoded(small_json(), "bcab") == Ids{4, 3});
    CHECK(encoded(small_json(), "aabcbc") == Ids{0, 5, 4});
    const nlohmann::json pairs = {{"model", {{"vocab", {{"aa", 6}}}, {"merges", {"a a"}}}}};
    CHECK(encoded(small_json(pairs), "aaa") == Ids{6, 0});
  }

  TEST_CASE("ignore_merges takes a whole piece that is a token") {
    const nlohmann::json changes = {{"model", {{"vocab", {{"cba", 6}}}, {"ignore_merges", true}}}};
    CHECK(encoded(small_json(changes), "cba") == Ids{6});
    CHECK(encoded(small_json(changes), "cbac") == Ids{2, 1, 0, 2});
  }

  TEST_CASE("a character without a token becomes byte tokens, or unknown tokens fused as the file says") {
    const nlohmann::json unknown = {{"model", {{"unk_token", "<unk>"}, {"vocab", {{"<unk>", 6}}}}}};
    nlohmann::json fused = unknown;
    fused["model"]["fuse_unk"] = true;
    nlohmann::json bytes = unknown;
    bytes["model"]["byte_fallback"] = true;
    bytes["model"]["vocab"]["<0xC3>"] = 7;
    bytes["model"]["vocab"]["<0xA9>"] = 8;
    CHECK(encoded(small_json(unknown), "axyb") == Ids{0, 6, 6, 1});
    CHECK(encoded(small_json(fused), "axyb") == Ids{0, 6, 1});
    CHECK(encoded(small_json(bytes), "aéxb") == Ids{0, 7, 8, 6, 1});
    CHECK(encoded(small_json(), "axb") == Ids{3});
  }

  TEST_CASE(
      "added tokens take the longest match and the white space that they ask for, and stand alone where they must") {
    const nlohmann::json tokens = {
        {"added_tokens",
         {added(6, "<t>", {{"special", true}}), added(7, "<t>t>"), added(8, "<l>", {{"lstrip", true}}),
          added(9, "<r>", {{"rstrip", true}}), added(10, "ba", {{"single_word", true}}), added(11, "cc")}}};
    const std::string json = small_json(tokens);
    CHECK(encoded(json, "a<t>b<t>t>c") == Ids{0, 6, 1, 7, 2});
    CHECK(encoded(json, "a \n<l> b") == Ids{0, 8, 1});
    CHECK(encoded(json, "a<r>\t b") == Ids{0, 9, 1});
    CHECK(encoded(json, "ba ba-bab") == Ids{10, 10, 1, 3});
    CHECK(encoded(json, "acccb") == Ids{0, 11, 2, 1});
    const Tokenizer tokenizer = Tokenizer::from_json(json, "t");
    CHECK(tokenizer.decode(Ids{0, 6, 7}, false) == "a<t><t>t>");
    CHECK(tokenizer.decode(Ids{0, 6, 7}, true) == "a<t>t>");
    CHECK(tokenizer.vocabulary_size() == 12);
    CHECK(tokenizer.id_of("<t>t>") == 7);
    CHECK(tokenizer.id_of("abc") == 5);
    CHECK(tokenizer.id_of("nothing") == -1);
  }

  TEST_CASE("a long text without any piece boundary takes time in proportion to its length") {
    const Tokenizer tokenizer = Tokenizer::load(kData + "tinystories-656k");
    std::string text;
    while (text.size() < 1'000'000) text += "Once upon a time there was a little girl named Lily. ";
    const Ids ids = tokenizer.encode(text, false);
    CHECK(tokenizer.decode(ids, false) == text);
  }

  TEST_CASE("Metaspace puts its character at the start of the text, not behind an added token, and its decoder drops it") {
    const nlohmann::json metaspace = {{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "first"}, {"split", true}};
    const nlohmann::json changes = {{"pre_tokenizer", metaspace},
                                    {"decoder", metaspace},
                                    {"added_tokens", {added(7, "<t>")}},
                                    {"model", {{"vocab", {{"\u2581", 6}}}}}};
    const std::string json = small_json(changes);
    CHECK(encoded(json, "ab c") == Ids{6, 3, 6, 2});
    CHECK(encoded(json, "ab<t>ab") == Ids{6, 3, 7, 3});
    CHECK(encoded(json, "<t>ab") == Ids{7, 3});
    CHECK(Tokenizer::from_json(json, "t").decode(Ids{6, 3, 6, 2}, false) == "ab c");
  }

  TEST_CASE("text that is not UTF-8 is refused with the offset of the first wrong byte") {
    const Tokenizer tokenizer = Tokenizer::from_json(small_json(), "t");
    CHECK_THROWS_WITH_AS(tokenizer.encode("ab\xC3(", false), "text is not UTF-8: ill-formed byte at offset 2",
                         ConfigError);
    CHECK_THROWS_WITH_AS(tokenizer.encode("\xED\xA0\x80", false), "text is not UTF-8: ill-formed byte at offset 0",
                         ConfigError);
  }

  TEST_CASE("an id that no vocabulary has is refused with the range") {
    const Tokenizer tokenizer = Tokenizer::from_json(small_json(), "dir/tokenizer.json");
    CHECK_THROWS_WITH_AS(tokenizer.decode(Ids{6}, false),
                         "token id 6 is out of range: dir/tokenizer.json has ids 0 to 5", ConfigError);
    CHECK_THROWS_AS(tokenizer.decode(Ids{-1}, false), ConfigError);
  }

  TEST_CASE("byte tokens that are not UTF-8 together decode to one U+FFFD each") {
    const nlohmann::json changes = {
        {"decoder", {{"type", "Sequence"}, {"decoders", {{{"type", "ByteFallback"}}, {{"type", "Fuse"}}}}}},
        {"model", {{"vocab", {{"<0xC3>", 6}, {"<0xA9>", 7}}}}}};
    const Tokenizer tokenizer = Tokenizer::from_json(small_json(changes), "t");
    CHECK(tokenizer.decode(Ids{0, 6, 7, 1}, false) == "aéb");
    CHECK(tokenizer.decode(Ids{6, 6, 7}, false) == "\uFFFD\uFFFD\uFFFD");
  }

  TEST_CASE("what a file asks for and we do not do is named, never ignored") {
    check_refused(small_json({{"model", {{"type", "Unigram"}}}}), "model \"Unigram\" is not supported");
    check_refused(small_json({{"normalizer", {{"type", "Lowercase"}}}}), "normalizer \"Lowercase\" is not supported");
    check_refused(small_json({{"pre_tokenizer", {{"type", "UnicodeScripts"}}}}),
                  "pre_tokenizer \"UnicodeScripts\" is not supported");
    check_refused(small_json({{"post_processor", {{"type", "BertProcessing"}}}}), "post_processor \"BertProcessing\"");
    check_refused(small_json({{"decoder", {{"type", "WordPiece"}}}}), "decoder \"WordPiece\" is not supported");
    check_refused(small_json({{"model", {{"end_of_word_suffix", "</w>"}}}}), "end_of_word_suffix \"</w>\"");
    check_refused(small_json({{"model", {{"dropout", 0.1}}}}), "dropout is not supported");
  }

  TEST_CASE("a malformed file is refused with what is wrong in it") {
    check_refused("{", "not valid JSON");
    check_refused("[]", "expected an object");
    check_refused(R"({"model": {"vocab": {"a": 0, "a": 1}, "merges": []}})", "key \"a\" stands twice");
    check_refused(std::string(100, '[') + std::string(100, ']'), "nested deeper than 64 levels");
    check_refused(small_json({{"model", {{"vocab", {{"d", 5}}}}}}), "id 5 is given to \"abc\" and to \"d\"");
    check_refused(small_json({{"model", {{"vocab", {{"d", -1}}}}}}), "has id -1");
    check_refused(small_json({{"model", {{"vocab", {{"d", 4000000000}}}}}}), "has id 4000000000");
    check_refused(small_json({{"model", {{"vocab", {{"d", "x"}}}}}}), "expected an integer");
    check_refused(small_json({{"model", {{"merges", {"a x"}}}}}), "\"x\" is not in the vocabulary");
    check_refused(small_json({{"model", {{"merges", {"a a"}}}}}), "\"aa\" is not in the vocabulary");
    check_refused(small_json({{"model", {{"merges", {"a b c"}}}}}), "found \"a b c\"");
    check_refused(small_json({{"model", {{"unk_token", "<unk>"}}}}), "unk_token \"<unk>\" is not in the vocabulary");
    check_refused(small_json({{"added_tokens", {added(9, "<t>")}}}), "\"<t>\" has id 9, expected 6");
    const nlohmann::json bad_regex = {{"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}};
    check_refused(small_json({{"pre_tokenizer", bad_regex}}), "regular expression \"(a\"");
    const nlohmann::json longer = {{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(11, 'a')}};
    check_refused(small_json({{"decoder", {{"type", "Sequence"}, {"decoders", {longer, longer}}}}}), "decoder: its steps could make a text 121 times");
  }

  TEST_CASE("a folder without tokenizer.json is refused by its path") {
    CHECK_THROWS_WITH_AS(Tokenizer::load(kData + "gsm8k"), doctest::Contains("gsm8k/tokenizer.json"), ConfigError);
  }

  TEST_CASE("the character tokenizer has its end first, its tags whole and a token for anything else") {
    const Tokenizer tokenizer = Tokenizer::from_json(troupe::character_tokenizer_json(), "characters");
    CHECK(tokenizer.id_of("<|end|>") == 0);
    CHECK(tokenizer.vocabulary_size() == 102);
    CHECK(tokenizer.encode("<think> 7", true).size() == 3);
    const Ids ids = tokenizer.encode("<answer>\n~é</answer><|end|>", false);
    CHECK(ids.size() == 6);
    CHECK(ids[3] == tokenizer.id_of("<unk>"));
    CHECK(tokenizer.decode(ids, true) == "<answer>\n~</answer>");
  }
}
