#include "rewarders/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstdint>

#include "common/base/error.h"

namespace troupe {
namespace {

constexpr std::uint64_t kSteps = 200'000;
constexpr std::uint64_t kStepsPerByte = 20;
constexpr std::size_t kFirstStackBytes = std::size_t{32} << 10;
constexpr std::size_t kMostStackBytes = std::size_t{8} << 20;  // of the compiled matcher; one that needs more finds nothing
constexpr int kTooManySteps = -1000;

std::string error_text(int code) {
  std::string text(256, '\0');
  const int size = pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(text.data()), text.size());
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return text;
}

template <class Type, void (*Free)(Type*)>
struct Freed {
  void operator()(Type* one) const { Free(one); }
};
template <class Type, void (*Free)(Type*)>
using Owned = std::unique_ptr<Type, Freed<Type, Free>>;

/// PCRE2 calls this at each item of the pattern that it tries.
int count_step(pcre2_callout_block*, void* left) {
  std::uint64_t& steps = *static_cast<std::uint64_t*>(left);
  return steps-- == 0 ? kTooManySteps : 0;
}

}  // namespace

struct Pattern::Code {
  Owned<pcre2_code, pcre2_code_free> compiled;

  Code(const std::string& pattern, Options options) {
    const Owned<pcre2_compile_context, pcre2_compile_context_free> reading(pcre2_compile_context_create(nullptr));
    check(reading != nullptr, "out of memory in PCRE2");
    pcre2_set_newline(reading.get(), PCRE2_NEWLINE_ANYCRLF);
    pcre2_set_compile_extra_options(reading.get(), PCRE2_EXTRA_ALT_BSUX);
    std::uint32_t flags = PCRE2_UTF | PCRE2_MATCH_INVALID_UTF | PCRE2_ALT_BSUX | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_DOLLAR_ENDONLY |
                          PCRE2_MATCH_UNSET_BACKREF | PCRE2_NEVER_BACKSLASH_C | PCRE2_AUTO_CALLOUT;
    if (options.whole) flags |= PCRE2_ANCHORED | PCRE2_ENDANCHORED;
    if (options.ignore_case) flags |= PCRE2_CASELESS;
    int error = 0;
    PCRE2_SIZE offset = 0;
    compiled.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), flags, &error, &offset, reading.get()));
    if (!compiled) throw ConfigError("'" + pattern + "' is not a regular expression: " + error_text(error) + " at offset " + std::to_string(offset));
    pcre2_jit_compile(compiled.get(), PCRE2_JIT_COMPLETE);  // where that cannot be had the interpreter matches the same
  }
};

namespace {

/// The matches of one text, one after the other, all within its steps.
class Search {
 public:
  Search(const pcre2_code* code, std::string_view text)
      : code_(code),
        text_(text),
        left_(kSteps + kStepsPerByte * text.size()),
        data_(pcre2_match_data_create_from_pattern(code, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        stack_(pcre2_jit_stack_create(kFirstStackBytes, kMostStackBytes, nullptr)) {
    check(data_ && context_ && stack_, "out of memory in PCRE2");
    pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
    pcre2_set_callout(context_.get(), count_step, &left_);
  }
  Search(const Search&) = delete;
  Search& operator=(const Search&) = delete;

  /// Whether there is a match at or behind `start`.
  bool found(std::size_t start) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.empty() ? "" : text_.data());
    return pcre2_match(code_, subject, text_.size(), start, 0, data_.get(), context_.get()) > 0;
  }
  /// Begin and end of its groups, two each; the first is the whole match.
  const PCRE2_SIZE* bounds() const { return pcre2_get_ovector_pointer(data_.get()); }

 private:
  const pcre2_code* code_;
  std::string_view text_;
  std::uint64_t left_;
  Owned<pcre2_match_data, pcre2_match_data_free> data_;
  Owned<pcre2_match_context, pcre2_match_context_free> context_;
  Owned<pcre2_jit_stack, pcre2_jit_stack_free> stack_;
};

}  // namespace

Pattern::Pattern(const std::string& pattern, Options options) : code_(std::make_shared<const Code>(pattern, options)) {}

int Pattern::groups() const {
  std::uint32_t count = 0;
  pcre2_pattern_info(code_->compiled.get(), PCRE2_INFO_CAPTURECOUNT, &count);
  return static_cast<int>(count);
}

bool Pattern::matches(std::string_view text) const { return Search(code_->compiled.get(), text).found(0); }

std::optional<std::string> Pattern::last_group(std::string_view text) const {
  check(groups() >= 1, "the pattern has a group");
  std::optional<std::string> last;
  Search search(code_->compiled.get(), text);
  for (std::size_t start = 0; start <= text.size() && search.found(start);) {
    const PCRE2_SIZE* const bounds = search.bounds();
    last = bounds[2] == PCRE2_UNSET ? std::string() : std::string(text.substr(bounds[2], bounds[3] - bounds[2]));
    start = std::max(bounds[1], start + 1);
  }
  return last;
}

}  // namespace troupe
