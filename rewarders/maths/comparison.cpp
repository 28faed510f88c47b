#include "rewarders/maths/comparison.h"

#include <algorithm>

#include "rewarders/maths/derivative.h"
#include "rewarders/maths/matrices.h"
#include "rewarders/maths/scalar_equality.h"
#include "rewarders/maths/vocabulary.h"

namespace troupe {
namespace {

/// The letters of a text, a symbol or a product of these: "e v e n" as "even".
std::string letters_of(const MathNode& node) {
  if (node.is(MathKind::kText) || node.is(MathKind::kSymbol) || node.is(MathKind::kConstant)) return node.name;
  if (!node.is(MathKind::kProduct)) return {};
  std::string all;
  for (const MathNode& part : node.parts) {
    const std::string letters = letters_of(part);
    if (letters.empty()) return {};
    all += letters;
  }
  return all;
}

std::string folded(const std::string& text) {
  std::string result;
  for (const char c : text) {
    if (c == ' ' || c == '(' || c == ')' || c == '.' || c == '\\') continue;
    result += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return result;
}

/// "cm^2" as a unit: its dimension with the power, and the factor raised to it.
std::optional<std::pair<std::string, Rational>> unit_of(const std::string& name) {
  const std::size_t hat = std::min(name.find('^'), name.size());
  const auto unit = math_unit(name.substr(0, hat));
  if (!unit) return std::nullopt;
  if (hat == name.size()) return std::pair(std::string(unit->dimension), unit->factor);
  if (name.size() != hat + 2 || name[hat + 1] < '1' || name[hat + 1] > '6') return std::nullopt;
  Rational factor = 1;
  for (int i = 0; i < name[hat + 1] - '0'; ++i) factor *= unit->factor;
  return std::pair(std::string(unit->dimension) + name.substr(hat), factor);
}

/// 5 of "5 m" where the letter behind the number may be a unit; null otherwise.
const MathNode* number_before_unit_letter(const MathNode& node) {
  static const std::string kLetters = "mgshlL";
  const bool product = node.is(MathKind::kProduct) && node.parts.size() == 2 && symbols_of(node.parts[0]).empty();
  if (!product || !node.parts[1].is(MathKind::kSymbol) || node.parts[1].name.size() != 1) return nullptr;
  return kLetters.find(node.parts[1].name[0]) == std::string::npos ? nullptr : &node.parts[0];
}

/// A value and the name of its unit. Beside another quantity, the m of "5 m" is a unit and no symbol.
std::pair<const MathNode*, std::string> measured(const MathNode& node) {
  if (node.is(MathKind::kQuantity)) return {&node.parts[0], node.name};
  const MathNode* number = number_before_unit_letter(node);
  return number == nullptr ? std::pair(&node, std::string()) : std::pair(number, node.parts[1].name);
}

bool is_scalar(const MathNode& node) {
  return !is_collection(node) && !node.is(MathKind::kMatrix) && !node.is(MathKind::kRelation) && !node.is(MathKind::kText);
}

}  // namespace

bool MathComparison::same_text(const std::string& gold, const std::string& given) const { return folded(gold) == folded(given); }

bool MathComparison::same_quantity(const MathNode& gold, const MathNode& given) {
  const auto [gold_node, gold_name] = measured(gold);
  const auto [given_node, given_name] = measured(given);
  const MathNode& gold_value = *gold_node;
  const MathNode& given_value = *given_node;
  const auto gold_unit = unit_of(gold_name);
  const auto given_unit = unit_of(given_name);
  if (!gold_unit || !given_unit || *gold_unit == *given_unit) return same(gold_value, given_value);
  if (gold_unit->first != given_unit->first) return false;
  return same(math_node(MathKind::kProduct, "", gold_value, math_number(gold_unit->second)),
              math_node(MathKind::kProduct, "", given_value, math_number(given_unit->second)));
}

bool MathComparison::same_matrix(const MathNode& gold, const MathNode& given) {
  if (!gold.is(MathKind::kMatrix) || !given.is(MathKind::kMatrix)) return same_collection(gold, given);
  if (gold.columns != given.columns && !(vector_elements(gold) != nullptr && vector_elements(given) != nullptr)) return false;
  return same_in_order(gold.parts, given.parts);
}

/// An integral without bounds and what may be its value: the derivative decides, so any constant is right.
bool MathComparison::same_antiderivative(const MathNode& gold, const MathNode& given) {
  const auto variable = [](const MathNode& node) {
    const bool indefinite = node.is(MathKind::kApply) && node.name == "int" && node.parts.size() == 2;
    return indefinite ? math_index(node) : nullptr;
  };
  const std::string* index = variable(gold) != nullptr ? variable(gold) : variable(given);
  if (index == nullptr) return false;
  const auto slope = [&](const MathNode& node) { return variable(node) != nullptr ? node.parts[0] : derivative_of(node, *index); };
  const std::optional<MathNode> gold_slope = slope(gold);
  const std::optional<MathNode> given_slope = slope(given);
  return gold_slope && given_slope && same_scalar(*gold_slope, *given_slope, meter_);
}

/// Scalars, with what people leave away: the percent sign, the base of the digits, a unit of one letter.
bool MathComparison::same_value(const MathNode& gold, const MathNode& given) {
  if (gold.is(MathKind::kBased) && given.is(MathKind::kBased)) {
    return same_scalar(gold.parts[0], given.parts[0], meter_) && same_scalar(gold.parts[1], given.parts[1], meter_);
  }
  if (gold.is(MathKind::kPercent) != given.is(MathKind::kPercent)) {
    const MathNode& gold_number = gold.is(MathKind::kPercent) ? gold.parts[0] : gold;
    const MathNode& given_number = given.is(MathKind::kPercent) ? given.parts[0] : given;
    if (same_scalar(gold_number, given_number, meter_)) return true;
  }
  if (same_scalar(gold, given, meter_) || same_antiderivative(gold, given)) return true;
  const MathNode* gold_number = number_before_unit_letter(gold);
  const MathNode* given_number = number_before_unit_letter(given);
  if ((gold_number != nullptr) == (given_number != nullptr)) return false;
  const MathNode& bare = gold_number != nullptr ? given : gold;
  return symbols_of(bare).empty() && same_scalar(bare, gold_number != nullptr ? *gold_number : *given_number, meter_);
}

bool MathComparison::same(const MathNode& gold, const MathNode& given) {
  if (!meter_.spend(2)) return false;
  const bool chain_and_list = (gold.is(MathKind::kRelation) && given.is(MathKind::kList) && given.name != "or") ||
                              (gold.is(MathKind::kList) && gold.name != "or" && given.is(MathKind::kRelation));
  if (chain_and_list && same_links(gold, given)) return true;
  // The gold's form decides: "x = 5" answers 5 as 5 answers "x = 5", but 5 does not answer "x + 1 = 5".
  if (is_equation(given) && !is_equation(gold)) return same(gold, given.parts.back());
  if (is_assignment(gold) && !is_equation(given)) return same(gold.parts.back(), given);
  if (gold.is(MathKind::kQuantity) || given.is(MathKind::kQuantity)) return same_quantity(gold, given);
  if (is_condition(gold) && (is_collection(given) || gold.kind != given.kind)) {
    if (same_as_sets(gold, given)) return true;
    return gold.is(MathKind::kList) && given.is(MathKind::kList) && same_collection(gold, given);
  }
  if (is_condition(given) && !is_condition(gold)) return false;
  if (gold.is(MathKind::kRelation) || given.is(MathKind::kRelation)) {
    return gold.kind == given.kind && same_relation(gold, given);
  }
  if (gold.is(MathKind::kMatrix) || given.is(MathKind::kMatrix)) return same_matrix(gold, given);
  if (is_collection(gold) || is_collection(given)) return same_collection(gold, given);
  const std::string gold_letters = letters_of(gold);
  const std::string given_letters = letters_of(given);
  if (!gold_letters.empty() && !given_letters.empty() && (gold.is(MathKind::kText) || given.is(MathKind::kText))) {
    return same_text(gold_letters, given_letters);
  }
  if (is_scalar(gold) && is_scalar(given) && same_value(gold, given)) return true;
  // What has no value, as a union over all k, is the same where its parts are.
  const bool calls = gold.is(MathKind::kApply) && given.is(MathKind::kApply) && gold.name.starts_with("big") && gold.name == given.name;
  return calls && same_in_order(gold.parts, given.parts);
}

}  // namespace troupe
