#include "common/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstdint>

#include "common/base/error.h"
#include "common/base/utf8.h"

namespace troupe {
namespace {

constexpr std::uint32_t kMatchLimit = 10'000'000;  // steps of one match: the pattern comes from a file

std::string error_text(int code) {
  std::string text(256, '\0');
  const int size = pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(text.data()), text.size());
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return text;
}

}  // namespace

struct Regex::Code {
  explicit Code(pcre2_code* compiled_code) : compiled(compiled_code) {}
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(compiled); }
  pcre2_code* compiled;
};

Regex::Regex(const std::string& pattern, const std::string& where) : where_(where) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                       PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  if (compiled == nullptr) {
    throw ConfigError(where + ": regular expression \"" + pattern + "\": " + error_text(error) + " at offset " +
                      std::to_string(offset));
  }
  code_ = std::make_shared<const Code>(compiled);
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);  // where there is no JIT the interpreter matches the same
}

Regex Regex::literal(const std::string& text, const std::string& where) {
  std::string pattern;
  for (const char c : text) {
    if (std::string_view("\\^$.[|()?*+{").find(c) != std::string_view::npos) pattern.push_back('\\');
    pattern.push_back(c);
  }
  return Regex(pattern, where);
}

std::vector<Regex::Piece> Regex::split(std::string_view text) const {
  const std::unique_ptr<pcre2_match_context, void (*)(pcre2_match_context*)> context(
      pcre2_match_context_create(nullptr), pcre2_match_context_free);
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> data(
      pcre2_match_data_create_from_pattern(code_->compiled, nullptr), pcre2_match_data_free);
  check(context != nullptr && data != nullptr, "out of memory in PCRE2");
  pcre2_set_match_limit(context.get(), kMatchLimit);

  std::vector<Piece> pieces;
  std::size_t covered = 0;
  std::size_t start = 0;
  while (start < text.size()) {
    const int matched = pcre2_match(code_->compiled, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), start,
                                    PCRE2_NO_UTF_CHECK, data.get(), context.get());
    if (matched == PCRE2_ERROR_NOMATCH) break;
    if (matched < 0) throw ConfigError(where_ + ": matching a regular expression failed: " + error_text(matched));
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data.get());
    const std::size_t begin = bounds[0];
    const std::size_t end = bounds[1];
    if (begin > covered) pieces.push_back({covered, begin, false});
    if (end > begin) pieces.push_back({begin, end, true});
    covered = end;
    start = end > begin || end >= text.size() ? end : end + code_point_at(text, end).bytes;
  }
  if (covered < text.size()) pieces.push_back({covered, text.size(), false});
  return pieces;
}

}  // namespace troupe
