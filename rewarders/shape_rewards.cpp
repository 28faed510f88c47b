#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <set>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/base/utf8.h"
#include "common/data/rows.h"
#include "rewarders/maths/equivalence.h"
#include "rewarders/maths/extraction.h"
#include "rewarders/reward_kinds.h"

namespace troupe {
namespace {

constexpr std::array<std::string_view, 4> kTags = {"<think>", "</think>", "<answer>", "</answer>"};

std::size_t count_of(std::string_view text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

class FormatReward final : public Reward {
 public:
  Grade grade(const GradedItem& item) const override {
    const std::string_view text = trim(item.completion);
    const bool once = std::all_of(kTags.begin(), kTags.end(), [&](std::string_view tag) { return count_of(text, tag) == 1; });
    if (!once || !text.starts_with(kTags[0]) || !text.ends_with(kTags[3])) return {0.0, "wrong"};
    const std::size_t think_end = text.find(kTags[1]);
    const std::size_t answer_begin = text.find(kTags[2]);
    if (think_end > answer_begin) return {0.0, "wrong"};
    const std::size_t between = think_end + kTags[1].size();
    return trim(text.substr(between, answer_begin - between)).empty() ? Grade{1.0, "ok"} : Grade{0.0, "wrong"};
  }
};

class TagsReward final : public Reward {
 public:
  Grade grade(const GradedItem& item) const override {
    double value = 0;
    for (const std::string_view tag : kTags) value += count_of(item.completion, tag) == 1 ? 0.25 : 0.0;
    return {value, value == 1.0 ? "ok" : "wrong"};
  }
};

/// Han, kana.
bool is_word_by_itself(char32_t c) {
  return (c >= 0x3040 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF);
}

/// What stands between white space, in lower case; of scripts that are written without spaces each character.
std::vector<std::string> lower_words(const std::string& bytes) {
  const std::string text = utf8_or_replacement(bytes);
  std::vector<std::string> words;
  bool goes_on = false;
  for (std::size_t at = 0; at < text.size();) {
    const CodePoint c = code_point_at(text, at);
    const bool is_space = c.value < 0x80 && std::isspace(static_cast<int>(c.value)) != 0;
    const bool stands_alone = is_word_by_itself(c.value);
    if (!is_space && (stands_alone || !goes_on)) words.emplace_back();
    for (std::size_t i = 0; !is_space && i < c.bytes; ++i) words.back() += static_cast<char>(std::tolower(static_cast<unsigned char>(text[at + i])));
    goes_on = !is_space && !stands_alone;
    at += c.bytes;
  }
  return words;
}

class RepetitionReward final : public Reward {
 public:
  RepetitionReward(std::size_t ngram, double max_penalty) : ngram_(ngram), max_penalty_(max_penalty) {}
  Grade grade(const GradedItem& item) const override {
    const std::vector<std::string> words = lower_words(item.completion);
    if (words.size() < ngram_) return {0.0, "ok"};
    std::set<std::vector<std::string>> distinct;
    const std::size_t total = words.size() - ngram_ + 1;
    for (std::size_t i = 0; i < total; ++i) {
      distinct.emplace(words.begin() + static_cast<std::ptrdiff_t>(i), words.begin() + static_cast<std::ptrdiff_t>(i + ngram_));
    }
    return {max_penalty_ * (1.0 - static_cast<double>(distinct.size()) / static_cast<double>(total)), "ok"};
  }

 private:
  std::size_t ngram_;
  double max_penalty_;
};

class LengthReward final : public Reward {
 public:
  struct Range {
    double low;
    double high;
  };
  LengthReward(double max_tokens, Range correct, Range wrong) : max_tokens_(max_tokens), correct_(correct), wrong_(wrong) {}
  Grade grade(const GradedItem& item) const override {
    const auto answer = final_answer(item.completion, usual_answer_sources());
    const bool right = answer && same_answer(*answer, gold_answer(gold_of(item.row)));
    // A short right answer earns the most, a short wrong one the least.
    const Range range = right ? correct_ : Range{wrong_.high, wrong_.low};
    const double progress = std::min(1.0, static_cast<double>(item.tokens) / max_tokens_);
    constexpr double kPi = 3.14159265358979323846;
    const double value = range.low + 0.5 * (range.high - range.low) * (1.0 + std::cos(progress * kPi));
    return {value, right ? "ok" : "wrong"};
  }
  void check_row(const nlohmann::json& row) const override { needed_gold(row, "length"); }

 private:
  double max_tokens_;
  Range correct_;
  Range wrong_;
};

class OverlongReward final : public Reward {
 public:
  OverlongReward(double max_tokens, double buffer) : max_tokens_(max_tokens), buffer_(buffer) {
    if (buffer > max_tokens) throw ConfigError("overlong reward: expected buffer <= max_tokens");
  }
  Grade grade(const GradedItem& item) const override {
    const double over = static_cast<double>(item.tokens) - (max_tokens_ - buffer_);
    return {over <= 0 ? 0.0 : over >= buffer_ ? -1.0 : -over / buffer_, "ok"};
  }

 private:
  double max_tokens_;
  double buffer_;
};

}  // namespace

std::unique_ptr<Reward> make_format(RewardParameters&) { return std::make_unique<FormatReward>(); }
std::unique_ptr<Reward> make_tags(RewardParameters&) { return std::make_unique<TagsReward>(); }

std::unique_ptr<Reward> make_repetition(RewardParameters& parameters) {
  const double ngram = parameters.number("ngram", 3, 1, 100);
  return std::make_unique<RepetitionReward>(static_cast<std::size_t>(ngram), parameters.number("max_penalty", -1, -100, 0));
}

std::unique_ptr<Reward> make_length(RewardParameters& parameters) {
  const double max_tokens = parameters.number("max_tokens", 1024, 1, 1e9);
  const LengthReward::Range correct{parameters.number("min_correct", 0.5, -100, 100), parameters.number("max_correct", 1, -100, 100)};
  const LengthReward::Range wrong{parameters.number("min_wrong", -1, -100, 100), parameters.number("max_wrong", -0.5, -100, 100)};
  return std::make_unique<LengthReward>(max_tokens, correct, wrong);
}

std::unique_ptr<Reward> make_overlong(RewardParameters& parameters) {
  const double max_tokens = parameters.number("max_tokens", 1024, 1, 1e9);
  return std::make_unique<OverlongReward>(max_tokens, parameters.number("buffer", 256, 1, 1e9));
}

}  // namespace troupe
