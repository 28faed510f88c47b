#include "rewarders/maths/equivalence.h"

#include <algorithm>
#include <set>
#include <stdexcept>
#include <vector>

#include "common/base/text.h"
#include "rewarders/maths/comparison.h"
#include "rewarders/maths/derivative.h"
#include "rewarders/maths/evaluate.h"
#include "rewarders/maths/matrices.h"
#include "rewarders/maths/parser.h"
#include "rewarders/maths/words.h"

namespace troupe {
namespace {

constexpr std::size_t kMaxAnswerBytes = 4096;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// "1,22" or "0,111" and nothing else: a decimal comma, not a list.
bool has_decimal_comma(std::string_view text) {
  text = trim(text);
  if (text.starts_with('-')) text.remove_prefix(1);
  const std::size_t comma = text.find(',');
  if (comma == std::string_view::npos || comma == 0) return false;
  const std::string_view whole = text.substr(0, comma);
  const std::string_view places = text.substr(comma + 1);
  if (!std::all_of(whole.begin(), whole.end(), is_digit) || !std::all_of(places.begin(), places.end(), is_digit)) return false;
  return places.size() == 2 || (whole == "0" && !places.empty());
}

/// Nothing but numbers, of which a comma and three digits may be one: 25,128 is 25128, or 25 and 128.
bool has_groups(std::string_view text) {
  return text.find(',') != std::string_view::npos && text.find_first_not_of("0123456789,.- $") == std::string_view::npos;
}

std::vector<MathNode> readings_of(std::string_view text) {
  std::vector<MathNode> trees;
  const auto add = [&](const MathReading& reading, bool* ambiguous) {
    if (auto tree = parse_math(text, reading, ambiguous)) trees.push_back(with_matrices_folded(with_derivatives(std::move(*tree))));
  };
  bool ambiguous = false;
  add({}, &ambiguous);
  if (ambiguous) add({.tight_products = true}, nullptr);
  if (has_groups(text)) add({.commas = MathCommas::kList}, nullptr);
  if (has_decimal_comma(text)) add({.commas = MathCommas::kPoint}, nullptr);
  return trees;
}

std::string lower_first(const std::string& name) {
  std::string result = name;
  if (!result.empty() && result[0] >= 'A' && result[0] <= 'Z') result[0] = static_cast<char>(result[0] - 'A' + 'a');
  return result;
}

void collect_names(const MathNode& node, std::set<std::string>& names) {
  if (node.is(MathKind::kSymbol)) names.insert(node.name);
  for (const MathNode& part : node.parts) collect_names(part, names);
}

/// Whether X and x mean two things in this tree.
bool tells_case_apart(const MathNode& node) {
  std::set<std::string> names;
  collect_names(node, names);
  std::set<std::string> lower;
  for (const std::string& name : names) lower.insert(lower_first(name));
  return lower.size() != names.size();
}

void lower_names(MathNode& node) {
  if (node.is(MathKind::kSymbol)) node.name = lower_first(node.name);
  for (MathNode& part : node.parts) lower_names(part);
}

bool any_tells_case_apart(const std::vector<MathNode>& readings) {
  return std::any_of(readings.begin(), readings.end(), tells_case_apart);
}

bool any_reading_same(const std::vector<MathNode>& golds, const std::vector<MathNode>& givens, const EquivalenceOptions& options,
                      MathMeter& meter) {
  MathComparison comparison(options, meter);
  for (const MathNode& gold : golds) {
    for (const MathNode& given : givens) {
      if (comparison.same(gold, given)) return true;
    }
  }
  return false;
}

/// Whether the text is mathematics that has no value.
bool is_undefined(const std::vector<MathNode>& readings) {
  return std::any_of(readings.begin(), readings.end(), [](const MathNode& tree) {
    MathMeter meter;
    return !exact_value(tree, {}, meter) && meter.undefined();
  });
}

std::string without_spaces(std::string_view text) {
  std::string result(text);
  std::erase_if(result, [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '$'; });
  return result;
}

/// A letter alone, as the gold of a multiple-choice question.
bool is_choice(const std::string& plain) { return plain.size() == 1 && plain[0] >= 'a' && plain[0] <= 'j'; }

bool decide(std::string_view given, std::string_view gold, const EquivalenceOptions& options) {
  const std::string plain_given = plain_words(given);
  const std::string plain_gold = plain_words(gold);
  if (plain_given.empty() || plain_gold.empty()) return false;
  const auto gold_time = date_or_time(gold);
  if (gold_time && date_or_time(given) == gold_time) return true;
  std::vector<MathNode> golds = readings_of(gold);
  if (is_choice(plain_gold)) {
    const auto letter = choice_letter(given);
    if (letter && *letter - 'A' == plain_gold[0] - 'a') return true;
  }
  std::vector<MathNode> givens = readings_of(given);
  const bool case_matters = any_tells_case_apart(golds) || any_tells_case_apart(givens);
  if (plain_given == plain_gold && (!case_matters || without_spaces(given) == without_spaces(gold))) return !is_undefined(golds);
  if (!case_matters) {
    for (MathNode& tree : golds) lower_names(tree);
    for (MathNode& tree : givens) lower_names(tree);
  }
  MathMeter meter;
  meter.spend(static_cast<std::int64_t>(given.size() + gold.size()) / 4);  // what reading them took
  return any_reading_same(golds, givens, options, meter);
}

}  // namespace

bool same_answer(std::string_view given, std::string_view gold, const EquivalenceOptions& options) {
  if (given.size() > kMaxAnswerBytes || gold.size() > kMaxAnswerBytes) return false;
  try {
    return decide(given, gold, options);
  } catch (const std::domain_error&) {  // Boost, at the limits of its numbers
    return false;
  } catch (const std::runtime_error&) {
    return false;
  }
}

}  // namespace troupe
