#include "rewarders/maths/formulas.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "common/base/text.h"
#include "rewarders/maths/parser.h"

namespace troupe {
namespace {

constexpr std::size_t kMaxFormulaBytes = 2000;
constexpr int kMaxTries = 8;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
bool readable(std::string_view text) { return parse_math(text, {}, nullptr).has_value(); }

struct Formula {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::string_view inside;
};

struct Delimiter {
  std::string_view open;
  std::string_view close;
  bool one_line;
};
constexpr std::array<Delimiter, 4> kDelimiters = {
    {{"$$", "$$", false}, {"\\[", "\\]", false}, {"\\(", "\\)", true}, {"$", "$", true}}};

/// The formula that begins at `at`, if one does.
std::optional<Formula> formula_at(std::string_view text, std::size_t at) {
  for (const Delimiter& delimiter : kDelimiters) {
    if (!text.substr(at).starts_with(delimiter.open)) continue;
    if (at > 0 && (text[at - 1] == '\\' || (delimiter.open == "$" && is_digit(text[at - 1])))) continue;
    const std::size_t from = at + delimiter.open.size();
    std::size_t end = text.substr(0, std::min(text.size(), from + kMaxFormulaBytes)).find(delimiter.close, from);
    while (end != std::string_view::npos && delimiter.open[0] == '$' && text[end - 1] == '\\') {
      end = text.find(delimiter.close, end + 1);
    }
    if (end == std::string_view::npos || end == from) continue;
    const std::string_view inside = trim(text.substr(from, end - from));
    if (delimiter.one_line && text.substr(from, end - from).find('\n') != std::string_view::npos) continue;
    return Formula{at, end + delimiter.close.size(), inside};
  }
  return std::nullopt;
}

std::vector<Formula> formulas_of(std::string_view text) {
  std::vector<Formula> all;
  for (std::size_t at = text.find_first_of("$\\"); at < text.size();) {
    const auto formula = formula_at(text, at);
    if (formula) all.push_back(*formula);
    at = text.find_first_of("$\\", formula ? formula->end : at + 1);
  }
  return all;
}

/// Whether two formulas with this text between them are one list.
bool joins(std::string_view between) {
  std::string_view word = trim(between);
  if (word.starts_with(',')) word = trim(word.substr(1));
  return !trim(between).empty() && (word.empty() || word == "and" || word == "or");
}

std::string with_percent(std::string_view value, std::string_view behind) {
  behind = trim(behind.substr(0, 20));
  for (const std::string_view sign : {"\\%", "%", "percentage", "percent", "Percent", "pct"}) {
    if (behind.starts_with(sign)) return std::string(value) + "\\%";
  }
  return std::string(value);
}

std::string joined(std::string_view text, const std::vector<Formula>& all, std::size_t first, std::size_t last) {
  std::string list;
  for (std::size_t i = first; i <= last; ++i) list += (list.empty() ? "" : ", ") + std::string(all[i].inside);
  return with_percent(list, text.substr(all[last].end));
}

/// A fraction of two numbers outside of any formula.
std::optional<FoundAnswer> last_bare_fraction(std::string_view text) {
  const std::size_t at = text.rfind("\\frac{");
  if (at == std::string_view::npos) return std::nullopt;
  const std::size_t middle = text.find("}{", at);
  const std::size_t end = middle == std::string_view::npos ? middle : text.find('}', middle + 2);
  if (end == std::string_view::npos) return std::nullopt;
  const std::size_t begin = at > 0 && text[at - 1] == '-' ? at - 1 : at;
  const std::string fraction(text.substr(begin, end + 1 - begin));
  return readable(fraction) ? std::optional(FoundAnswer{fraction, end + 1}) : std::nullopt;
}

bool of_expression(char c) { return is_digit(c) || std::string_view(".,/+-*^() ").find(c) != std::string_view::npos; }

/// "1000,99"
bool is_decimal_comma(std::string_view run) {
  const std::size_t comma = run.find(',');
  return comma != std::string_view::npos && run.size() == comma + 3 && is_digit(run[comma + 1]) && is_digit(run[comma + 2]);
}

/// The readable expression that ends a run of digits and operators: all of it, or behind its last space.
std::optional<std::string> end_of_run(std::string_view run) {
  run = trim(run);
  while (!run.empty() && std::string_view(".,(-+").find(run.back()) != std::string_view::npos) run.remove_suffix(1);
  while (!run.empty()) {
    const auto begins_decimal = [&] { return run.front() == '.' && run.size() > 1 && is_digit(run[1]); };
    while (!run.empty() && std::string_view("/+*^),. ").find(run.front()) != std::string_view::npos && !begins_decimal()) {
      run.remove_prefix(1);
    }
    if (run.find_first_of("0123456789") == std::string_view::npos) return std::nullopt;
    const auto tree = parse_math(run, {}, nullptr);
    const bool list = tree && tree->is(MathKind::kList) && !is_decimal_comma(run);
    if (tree && !list) return std::string(run);
    if (run.back() == ')' && run.find('(') == std::string_view::npos) {
      run.remove_suffix(1);
      continue;
    }
    const std::size_t cut = run.find_first_of(" ,(");
    if (cut == std::string_view::npos) return std::nullopt;
    run.remove_prefix(cut + 1);
  }
  return std::nullopt;
}

}  // namespace

std::optional<FoundAnswer> last_formula(std::string_view text) {
  const std::vector<Formula> all = formulas_of(text);
  auto bare = last_bare_fraction(text);
  int tries = 0;
  for (std::size_t last = all.size(); last-- > 0 && tries < kMaxTries; ++tries) {
    if (bare && bare->end > all[last].end) return bare;
    std::size_t first = last;
    while (first > 0 && last - first < 5 && joins(text.substr(all[first - 1].end, all[first].begin - all[first - 1].end))) --first;
    std::string list = joined(text, all, first, last);
    const bool everything = all.size() == 1 && trim(text).size() == all[0].end - all[0].begin;
    if (everything || readable(list)) return FoundAnswer{std::move(list), all[last].end};
  }
  return bare;
}

std::optional<std::string> leading_formula(std::string_view text) {
  const std::vector<Formula> all = formulas_of(text);
  if (all.empty() || all[0].begin != 0) return std::nullopt;
  std::size_t last = 0;
  while (last + 1 < all.size() && last < 5 && joins(text.substr(all[last].end, all[last + 1].begin - all[last].end))) ++last;
  return joined(text, all, 0, last);
}

std::optional<FoundAnswer> last_number(std::string_view text) {
  int tries = 0;
  for (std::size_t end = text.size(); tries < kMaxTries; ++tries) {
    while (end > 0 && !is_digit(text[end - 1])) --end;
    if (end == 0) return std::nullopt;
    std::size_t stop = end;
    if (stop < text.size() && text[stop] == ')') ++stop;
    std::size_t begin = end;
    while (begin > 0 && end - begin < kMaxFormulaBytes && of_expression(text[begin - 1])) --begin;
    const bool in_word = begin > 0 && is_letter(text[begin - 1]) && is_digit(text[begin]);
    auto number = in_word ? std::nullopt : end_of_run(text.substr(begin, stop - begin));
    if (number) return FoundAnswer{with_percent(*number, text.substr(end)), end};
    end = begin;
  }
  return std::nullopt;
}

std::optional<std::string> last_formula_or_number(std::string_view text) {
  auto formula = last_formula(text);
  auto number = last_number(text);
  if (formula && (!number || formula->end > number->end)) return std::move(formula->text);
  return number ? std::optional(std::move(number->text)) : std::nullopt;
}

std::optional<std::string> leading_number(std::string_view text) {
  std::size_t end = 0;
  while (end < text.size() && of_expression(text[end])) ++end;
  std::string_view run = trim(text.substr(0, end));
  while (!run.empty() && !is_digit(run.back()) && run.back() != ')') run.remove_suffix(1);
  if (run.empty() || !readable(run)) return std::nullopt;
  return with_percent(run, text.substr(end));
}

}  // namespace troupe
