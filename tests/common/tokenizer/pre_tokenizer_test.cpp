#include "common/tokenizer/pre_tokenizer.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "common/base/error.h"

using nlohmann::json;
using troupe::PreTokenizer;
using Pieces = std::vector<std::string>;

namespace {

Pieces pieces(const json& config, const std::string& text) { return PreTokenizer::from_json(config, "t")(text); }

json split_at(const json& pattern, const char* behaviour, bool invert = false) {
  return {{"type", "Split"}, {"pattern", pattern}, {"behavior", behaviour}, {"invert", invert}};
}

}  // namespace

TEST_SUITE("tokenizer/pre_tokenizer") {
  TEST_CASE("without a pre-tokenizer a text is one piece, and an empty text none") {
    CHECK(pieces(nullptr, "a b") == Pieces{"a b"});
    CHECK(pieces(nullptr, "").empty());
  }

  TEST_CASE("the five behaviours are those of Hugging Face (the table in its normalizer.rs)") {
    const json dash = {{"String", "-"}};
    const std::string text = "The-final--countdown";
    CHECK(pieces(split_at(dash, "Removed"), text) == Pieces{"The", "final", "countdown"});
    CHECK(pieces(split_at(dash, "Isolated"), text) == Pieces{"The", "-", "final", "-", "-", "countdown"});
    CHECK(pieces(split_at(dash, "MergedWithPrevious"), text) == Pieces{"The-", "final-", "-", "countdown"});
    CHECK(pieces(split_at(dash, "MergedWithNext"), text) == Pieces{"The", "-final", "-", "-countdown"});
    CHECK(pieces(split_at(dash, "Contiguous"), text) == Pieces{"The", "-", "final", "--", "countdown"});
    CHECK(pieces(split_at({{"Regex", "[a-z]+"}}, "Removed", true), "1ab2c") == Pieces{"ab", "c"});
    CHECK(pieces(split_at({{"String", "."}}, "Isolated"), "a.b") == Pieces{"a", ".", "b"});
  }

  TEST_CASE("patterns see Unicode's letters, digits and spaces, and look ahead") {
    CHECK(pieces(split_at({{"Regex", "\\s+"}}, "Isolated"), "a\u3000\u2003b") == Pieces{"a", "\u3000\u2003", "b"});
    CHECK(pieces(split_at({{"Regex", "\\p{L}+|\\p{N}"}}, "Isolated"), "émile٣4") == Pieces{"émile", "٣", "4"});
    CHECK(pieces(split_at({{"Regex", "\\s+(?!\\S)|\\s+"}}, "Isolated"), "a   b") == Pieces{"a", "  ", " ", "b"});
    CHECK(pieces(split_at({{"Regex", "(?i:'S)"}}, "Isolated"), "it's") == Pieces{"it", "'s"});
    CHECK(pieces(split_at({{"Regex", "x*"}}, "Isolated"), "éxxé") == Pieces{"é", "xx", "é"});
  }

  TEST_CASE("digits stand together or each alone") {
    CHECK(pieces({{"type", "Digits"}, {"individual_digits", false}}, "a12 3") == Pieces{"a", "12", " ", "3"});
    CHECK(pieces({{"type", "Digits"}, {"individual_digits", true}}, "a12 3") == Pieces{"a", "1", "2", " ", "3"});
  }

  TEST_CASE("byte level cuts as GPT-2 does and writes each byte as a printable character") {
    json config = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
    CHECK(pieces(config, "Hello my  friend's é\n") == Pieces{"Hello", "Ġmy", "Ġ", "Ġfriend", "'s", "ĠÃ©", "Ċ"});
    config["add_prefix_space"] = true;
    CHECK(pieces(config, "a b") == Pieces{"Ġa", "Ġb"});
    CHECK(pieces(config, " a") == Pieces{"Ġa"});
    config["use_regex"] = false;
    CHECK(pieces(config, "a b") == Pieces{"ĠaĠb"});
  }

  TEST_CASE("a sequence cuts the pieces of one step further in the next") {
    const json digits = {{"type", "Digits"}, {"individual_digits", true}};
    const json config = {{"type", "Sequence"}, {"pretokenizers", {digits, split_at({{"String", " "}}, "Removed")}}};
    CHECK(pieces(config, "a 12") == Pieces{"a", "1", "2"});
  }

  TEST_CASE("a pattern that backtracks without end is stopped") {
    const std::string text(60, 'a');
    CHECK_THROWS_WITH_AS(pieces(split_at({{"Regex", "(?:a+)+[bc]"}}, "Isolated"), text),
                         doctest::Contains("matching a regular expression failed"), troupe::ConfigError);
  }
}
