#include "common/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstdint>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/base/utf8.h"
#include "common/tokenizer/oniguruma.h"

namespace troupe {
namespace {

constexpr std::uint32_t kMatchLimit = 10'000'000;  // steps of one match: the pattern comes from a file
constexpr std::size_t kJitStackStart = 32 << 10;   // bytes
constexpr std::size_t kJitStackBytes = 64 << 20;   // for a repeated alternative over a long text

std::string error_text(int code) {
  std::string text(256, '\0');
  const int size = pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(text.data()), text.size());
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return text;
}

/// What a match needs beside the pattern.
struct Scratch {
  Scratch()
      : context(pcre2_match_context_create(nullptr)),
        data(pcre2_match_data_create(1, nullptr)),
        jit_stack(pcre2_jit_stack_create(kJitStackStart, kJitStackBytes, nullptr)) {
    check(context != nullptr && data != nullptr && jit_stack != nullptr, "out of memory in PCRE2");
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_jit_stack_assign(context, nullptr, jit_stack);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    pcre2_jit_stack_free(jit_stack);
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  pcre2_match_context* context;
  pcre2_match_data* data;
  pcre2_jit_stack* jit_stack;
};

}  // namespace

struct Regex::Code {
  /// Where there is no JIT the interpreter matches the same.
  explicit Code(pcre2_code* compiled_code)
      : compiled(compiled_code), jit(pcre2_jit_compile(compiled_code, PCRE2_JIT_COMPLETE) == 0) {}
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;
  ~Code() { pcre2_code_free(compiled); }
  pcre2_code* compiled;
  bool jit;
};

Regex::Regex(std::shared_ptr<const Code> code, bool literal, std::string where)
    : code_(std::move(code)), literal_(literal), where_(std::move(where)) {}

Regex::Regex(const std::string& pattern, const std::string& where)
    : Regex(compiled(pcre2_of_oniguruma(pattern, where), pattern, where), false, where) {}

std::shared_ptr<const Regex::Code> Regex::compiled(const std::string& pattern, const std::string& shown, const std::string& where) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE,
                                   &error, &offset, nullptr);
  if (code == nullptr) {
    throw ConfigError(where + ": regular expression \"" + beginning_of(shown) + "\": " + error_text(error) + " at offset " +
                      std::to_string(offset));
  }
  return std::make_shared<const Code>(code);
}

Regex Regex::literal(const std::string& text, const std::string& where) {
  std::string pattern;
  for (const char c : text) {
    if (std::string_view("\\^$.[|()?*+{").find(c) != std::string_view::npos) pattern.push_back('\\');
    pattern.push_back(c);
  }
  return Regex(compiled(pattern, text, where), true, where);
}

std::pair<std::size_t, std::size_t> Regex::next_match(std::string_view text, std::size_t start) const {
  // One pair of bounds is all that is read, so the same scratch does for every pattern.
  thread_local const Scratch scratch;
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const int matched = code_->jit ? pcre2_jit_match(code_->compiled, subject, text.size(), start, 0, scratch.data, scratch.context)
                                 : pcre2_match(code_->compiled, subject, text.size(), start, PCRE2_NO_UTF_CHECK, scratch.data,
                                               scratch.context);
  if (matched == PCRE2_ERROR_NOMATCH) return {text.size(), text.size()};
  if (matched < 0) throw ConfigError(where_ + ": matching a regular expression failed: " + error_text(matched));
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.data);
  return {bounds[0], bounds[1]};
}

std::size_t Regex::next_character(std::string_view text, std::size_t at) {
  return at < text.size() ? at + code_point_at(text, at).bytes : text.size();
}

std::vector<Regex::Piece> Regex::split(std::string_view text) const {
  std::vector<Piece> pieces;
  split(text, [&](std::size_t begin, std::size_t end, bool match) { pieces.push_back({begin, end, match}); });
  return pieces;
}

}  // namespace troupe
