#include <optional>

#include "common/base/utf8.h"
#include "common/tokenizer/newer_characters.h"
#include "common/tokenizer/normalizer.h"
#include "common/tokenizer/pre_tokenizer.h"
#include "tests/fuzz/fuzzing.h"

namespace troupe {
namespace {

/// The pieces of a match stand one behind the other, none of them empty, and cover the text.
void try_pattern(const std::string& pattern, const std::string& text) {
  std::size_t covered = 0;
  Regex(pattern, "fuzz").split(text, [&](std::size_t begin, std::size_t end, bool) {
    check(begin == covered && end > begin, "pieces cover the text");
    check(valid_utf8_prefix(std::string_view(text).substr(begin, end - begin)) == end - begin, "a piece is whole characters");
    covered = end;
  });
  check(covered == text.size(), "pieces cover the text to its end");
}

}  // namespace
}  // namespace troupe

/// The first line is a pattern of Oniguruma, and as JSON a normalizer and a pre-tokenizer; the rest is the text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace troupe;
  const std::string_view all = fuzzing::text_of(data, size);
  const std::size_t end = std::min(all.find('\n'), all.size());
  const std::string first = utf8_or_replacement(all.substr(0, end)), text = utf8_or_replacement(all.substr(std::min(end + 1, all.size())));
  const std::string older = with_older_characters(text);
  check(older.size() == text.size() && !has_newer_characters(older), "older characters take the places of newer ones");
  fuzzing::expect_only_config_errors([&] { try_pattern(first, text); });
  const nlohmann::json json = nlohmann::json::parse(first, nullptr, false);
  if (json.is_discarded()) return 0;
  fuzzing::expect_only_config_errors([&] {
    const std::string normal = Normalizer::from_json(json, "fuzz")(text);
    check(valid_utf8_prefix(normal) == normal.size(), "a normal form is UTF-8");
  });
  fuzzing::expect_only_config_errors([&] {
    for (const std::string& piece : PreTokenizer::from_json(json, "fuzz")(text)) {
      check(!piece.empty() && valid_utf8_prefix(piece) == piece.size(), "a piece is UTF-8, and not empty");
    }
  });
  return 0;
}
