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

  TEST_CASE("characters that came with Unicode 15 and 16 are the letters, marks and digits that they are") {
    const json split = split_at({{"Regex", "\\p{L}+|\\p{N}|\\p{M}+"}}, "Isolated");
    CHECK(pieces(split, "a\U00031350\u1c89 -") == Pieces{"a\U00031350\u1c89", " -"});
    CHECK(pieces(split, "\U0001e4f0\U00011bf1-") == Pieces{"\U0001e4f0", "\U00011bf1", "-"});
    CHECK(pieces(split, "-\u0897a") == Pieces{"-", "\u0897", "a"});
    CHECK(pieces(split_at({{"Regex", "\\p{Han}+"}}, "Isolated"), "a\U00031350\u3001") == Pieces{"a", "\U00031350", "\u3001"});
    CHECK(pieces(split_at({{"Regex", "\\s"}}, "Isolated"), "a\u180e") == Pieces{"a\u180e"});
    CHECK(pieces(split_at({{"String", "\U00031350"}}, "Isolated"), "a\U00031350") == Pieces{"a", "\U00031350"});
  }

  TEST_CASE("patterns mean what they mean to Oniguruma, or are refused by the construct") {
    const auto cut = [](const char* pattern, const std::string& text) { return pieces(split_at({{"Regex", pattern}}, "Isolated"), text); };
    CHECK(cut("\\p{N}{1,3}+", "12345") == Pieces{"12345"});  // repeated, where PCRE2 would not give back
    CHECK(cut("\\p{N}{1,3}", "12345") == Pieces{"123", "45"});
    CHECK(cut("x{,2}", "xxx") == Pieces{"xx", "x"});
    CHECK(cut("a$", "a\na") == Pieces{"a", "\n", "a"});
    CHECK(cut("\\w+", "a\u00b2\u0301\u24b6-") == Pieces{"a\u00b2\u0301\u24b6", "-"});
    CHECK(cut("[^\\w ]+", "a\u00b2!? b") == Pieces{"a\u00b2", "!?", " b"});
    CHECK(cut("\\W", "a!") == Pieces{"a", "!"});
    CHECK(cut("(?i)'S|\\u0041b", "a's") == Pieces{"a", "'s"});
    CHECK(cut("[]a]+", "b]ab") == Pieces{"b", "]a", "b"});
    for (const char* pattern : {"\\bfoo", "\\h", "[a[bc]]", "[a-z&&b]", "(?m:.)", "a(?i)b", "(*ANY)", "a{2}+", "(a)\\1", "[\\W]", "\\pL", "\\x41"}) {
      CAPTURE(pattern);
      CHECK_THROWS_WITH_AS(cut(pattern, "a"), doctest::Contains("is not supported (at offset "), troupe::ConfigError);
    }
    CHECK_THROWS_WITH_AS(cut("(a", "a"), doctest::Contains("\"(a\": missing closing parenthesis"), troupe::ConfigError);
  }

  TEST_CASE("a second ByteLevel, which would make each byte of the first two, is refused") {
    const json once = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
    const json digits = {{"type", "Digits"}, {"individual_digits", true}};
    CHECK(pieces({{"type", "Sequence"}, {"pretokenizers", {once, digits}}}, "a1") == Pieces{"a", "1"});
    CHECK_THROWS_WITH_AS(pieces({{"type", "Sequence"}, {"pretokenizers", {once, digits, once}}}, "a1"), "t: pre_tokenizer: ByteLevel stands twice",
                         troupe::ConfigError);
  }

  TEST_CASE("a long pattern is quoted in part") {
    const std::string pattern = "(" + std::string(100000, 'a');
    try {
      pieces(split_at({{"Regex", pattern}}, "Isolated"), "a");
      FAIL("it was taken");
    } catch (const troupe::ConfigError& error) {
      CHECK(std::string(error.what()).size() < 400);
    }
  }

  TEST_CASE("a repeated choice goes through a long text") {
    const std::string text(1'000'000, 'a');
    CHECK(pieces(split_at({{"Regex", "(?:a|b)+"}}, "Isolated"), text) == Pieces{text});
  }

  TEST_CASE("Metaspace writes spaces as its character and puts one first, always, at the very start, or never") {
    json config = {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "always"}, {"split", true}};
    CHECK(pieces(config, "a  b") == Pieces{"_a", "_", "_b"});
    CHECK(pieces(config, " a") == Pieces{"_a"});
    config["split"] = false;
    CHECK(pieces(config, "a b") == Pieces{"_a_b"});
    config["prepend_scheme"] = "never";
    CHECK(pieces(config, "a b") == Pieces{"a_b"});
    config["prepend_scheme"] = "first";
    CHECK(pieces(config, "a b") == Pieces{"_a_b"});
    Pieces later;
    PreTokenizer::from_json(config, "t").for_each("a b", false, [&](std::string_view piece) { later.emplace_back(piece); });
    CHECK(later == Pieces{"a_b"});
    const json dashes = split_at({{"String", "-"}}, "Isolated");
    CHECK(pieces({{"type", "Sequence"}, {"pretokenizers", {dashes, config}}}, "a-b") == Pieces{"_a", "-", "b"});
    config["add_prefix_space"] = false;
    CHECK_THROWS_WITH_AS(pieces(config, "a"), "t: Metaspace: add_prefix_space is false, but prepend_scheme is first", troupe::ConfigError);
  }

  TEST_CASE("words, signs and punctuation stand apart") {
    CHECK(pieces({{"type", "Whitespace"}}, "it's a\u200db  3\u00b2!?") == Pieces{"it", "'", "s", "a\u200db", "3", "\u00b2!?"});
    CHECK(pieces({{"type", "WhitespaceSplit"}}, " it's\u3000a") == Pieces{"it's", "a"});
    CHECK(pieces({{"type", "Punctuation"}}, "a+b!!") == Pieces{"a", "+", "b", "!", "!"});
    CHECK(pieces({{"type", "Punctuation"}, {"behavior", "Contiguous"}}, "a!!") == Pieces{"a", "!!"});
  }
}
