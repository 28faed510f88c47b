#include "common/tokenizer/text_stream.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "common/base/utf8.h"

using namespace troupe;

namespace {

struct Streamed {
  std::vector<std::string> pieces;
  std::string text;
};

Streamed streamed(const Tokenizer& tokenizer, const std::vector<std::int32_t>& ids) {
  TextStream stream(tokenizer);
  Streamed result;
  for (const std::int32_t id : ids) result.pieces.push_back(stream.push(id));
  result.pieces.push_back(stream.finish());
  for (const std::string& piece : result.pieces) {
    CHECK(valid_utf8_prefix(piece) == piece.size());
    result.text += piece;
  }
  return result;
}

Tokenizer loaded(const std::string& name) { return Tokenizer::load(std::string(TROUPE_TEST_DATA) + "/data/" + name); }

}  // namespace

TEST_SUITE("tokenizer/text_stream") {
  TEST_CASE("a character is given out when its last byte is there, everything else at once") {
    const Tokenizer tokenizer = loaded("byte-level");
    const std::vector<std::int32_t> ids = tokenizer.encode("né 😀!", false);

    const Streamed found = streamed(tokenizer, ids);

    CHECK(found.text == "né 😀!");
    CHECK(std::ranges::count(found.pieces, "") > 1);  // within characters, and at the end
    CHECK(std::ranges::find(found.pieces, "😀") != found.pieces.end());
    CHECK(found.pieces.back().empty());
  }

  TEST_CASE("the pieces are the decoded text, whatever the ids") {
    for (const char* name : {"byte-level", "tinystories-656k"}) {
      CAPTURE(name);
      const Tokenizer tokenizer = loaded(name);
      for (const char* text : {"Once upon a time", "  two  spaces ", "日本語 text — “quoted”", "\n\tdef f(x):\n  return x\n", "👩‍👩‍👧 é"}) {
        const std::vector<std::int32_t> ids = tokenizer.encode(text, true);
        CHECK(streamed(tokenizer, ids).text == tokenizer.decode(ids, true));
      }
      std::mt19937 random(5);
      for (int round = 0; round < 300; ++round) {
        std::vector<std::int32_t> ids;
        for (int i = 0; i < 40; ++i) {
          ids.push_back(static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(tokenizer.vocabulary_size())));
        }
        const Streamed found = streamed(tokenizer, ids);
        if (std::string(name) == "byte-level") CHECK(found.text == tokenizer.decode(ids, true));
      }
    }
  }

  TEST_CASE("what is cut short comes at the end as U+FFFD, and unknown ids are left out") {
    const Tokenizer tokenizer = loaded("byte-level");
    std::vector<std::int32_t> ids = tokenizer.encode("a😀", false);
    ids.pop_back();
    CHECK(streamed(tokenizer, ids).text == "a\xEF\xBF\xBD");
    CHECK(streamed(tokenizer, {-1, 1 << 30}).text.empty());
  }
}
