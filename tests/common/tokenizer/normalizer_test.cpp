#include "common/tokenizer/normalizer.h"

#include <doctest/doctest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <string>

#include "common/base/error.h"
#include "common/base/utf8.h"

using namespace troupe;

namespace {

std::string utf8_of(std::initializer_list<char32_t> characters) {
  std::string text;
  for (const char32_t c : characters) append_utf8(text, c);
  return text;
}

std::string nfc_of(const std::string& text) {
  utf8proc_uint8_t* composed = utf8proc_NFC(reinterpret_cast<const utf8proc_uint8_t*>(text.c_str()));
  const std::string result = reinterpret_cast<const char*>(composed);
  std::free(composed);
  return result;
}

}  // namespace

TEST_SUITE("tokenizer/normalizer") {
  TEST_CASE("NFC is utf8proc's for every character, alone and behind one that it might join, or leaves what came after Unicode 9") {
    const Normalizer nfc = Normalizer::from_json({{"type", "NFC"}}, "t");
    std::size_t changed = 0, left = 0;
    for (char32_t c = 1; c < 0x20000; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      for (const std::string& text : {utf8_of({c}), utf8_of({'e', c}), utf8_of({0xAC00, c}), utf8_of({0x304B, c})}) {
        const std::string normal = nfc(text);
        if (normal != nfc_of(text) && normal != text) FAIL_CHECK("U+" << std::hex << static_cast<std::uint32_t>(c));
        changed += normal != text ? 1 : 0;
        left += normal != nfc_of(text) ? 1 : 0;
      }
    }
    CHECK(changed > 1000);  // the slow way was taken too
    CHECK(left < 30);       // of Unicode 10 to 14, which Hugging Face leaves as well; the next case has some of them by value
  }

  TEST_CASE("the four forms are those of Hugging Face, which has the tables of Unicode 9") {
    const auto form = [](const char* type, const std::string& text) { return Normalizer::from_json({{"type", type}}, "t")(text); };
    CHECK(form("NFC", "e\u0301\ufb01") == "\u00e9\ufb01");
    CHECK(form("NFD", "\u00e9\ufb01") == "e\u0301\ufb01");
    CHECK(form("NFKC", "e\u0301\ufb01") == "\u00e9fi");
    CHECK(form("NFKD", "\u00e9\ufb01") == "e\u0301fi");
    CHECK(form("NFC", "a\u0301\u0323") == "\u1ea1\u0301");              // marks in the order of their classes
    CHECK(form("NFC", "a\u0301\u1abf") == "\u00e1\u1abf");              // U+1ABF: a mark of Unicode 13, class 220
    CHECK(form("NFD", "a\u0345\u1abf") == "a\u0345\u1abf");
    CHECK(form("NFD", "a\u0345\U00010efd") == "a\u0345\U00010efd");     // of Unicode 15, class 220
    CHECK(form("NFKC", "\u32ff") == "\u32ff");                          // a square era name of Unicode 12.1
    CHECK(form("NFC", utf8_of({0x11935, 0x11930})) == utf8_of({0x11935, 0x11930}));  // U+11938 is of Unicode 13
    CHECK(form("NFC", "\ub648\u11a7") == "\ub648\u11a7");               // utf8proc loses the second
  }

  TEST_CASE("steps that could fill the memory from a few letters are refused, what models use is not") {
    const auto sequence = [](std::vector<nlohmann::json> steps) {
      return Normalizer::from_json({{"type", "Sequence"}, {"normalizers", std::move(steps)}}, "f");
    };
    const auto replace = [](const char* kind, const std::string& pattern, const std::string& content) {
      return nlohmann::json{{"type", "Replace"}, {"pattern", {{kind, pattern}}}, {"content", content}};
    };
    const nlohmann::json tenfold = replace("String", "a", std::string(10, 'a')), nfkc = {{"type", "NFKC"}};
    CHECK(sequence({tenfold, tenfold})("a") == std::string(100, 'a'));
    CHECK(sequence({nfkc, replace("String", " ", "\u2581"), {{"type", "Prepend"}, {"prepend", std::string(300, 'p')}}})("") == "");
    CHECK(sequence({replace("String", std::string(300, 'a'), std::string(30000, 'b')), replace("String", "bb", "")})("") == "");
    for (const auto& steps : std::vector<std::vector<nlohmann::json>>{
             {tenfold, tenfold, replace("String", "a", "bb")}, {nfkc, nfkc}, {nfkc, tenfold}, {replace("Regex", "a", std::string(101, 'a'))},
             {replace("String", "aa", std::string(201, 'a'))}}) {
      CHECK_THROWS_WITH_AS(sequence(steps), doctest::Contains("f: normalizer: its steps could make a text "), ConfigError);
    }
  }

  TEST_CASE("Replace takes a pattern too") {
    const auto json = nlohmann::json::parse(R"({"type": "Replace", "pattern": {"Regex": "\\s{2,}"}, "content": "_"})");
    CHECK(Normalizer::from_json(json, "t")("a  b c \n") == "a_b c_");
  }
}
