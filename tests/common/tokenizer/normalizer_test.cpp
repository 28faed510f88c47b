#include "common/tokenizer/normalizer.h"

#include <doctest/doctest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <string>

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
  TEST_CASE("NFC is utf8proc's for every character, alone and behind one that it might join") {
    const Normalizer nfc = Normalizer::from_json({{"type", "NFC"}}, "t");
    std::size_t changed = 0;
    for (char32_t c = 1; c < 0x20000; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      for (const std::string& text : {utf8_of({c}), utf8_of({'e', c}), utf8_of({0xAC00, c}), utf8_of({0x304B, c})}) {
        const std::string normal = nfc(text);
        if (normal != nfc_of(text)) FAIL_CHECK("U+" << std::hex << static_cast<std::uint32_t>(c));
        changed += normal != text ? 1 : 0;
      }
    }
    CHECK(changed > 1000);  // the slow way was taken too
  }
}
