#include "rewarders/maths/vocabulary.h"

#include <string>
#include <unordered_map>
#include <unordered_set>

namespace troupe {
namespace {

using Type = MathTokenType;
using Words = std::unordered_map<std::string_view, MathWord>;

const Words& functions() {
  static const Words kFunctions = [] {
    Words words;
    for (const std::string_view name :
         {"sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "arcsec", "arccsc", "sinh", "cosh", "tanh",
          "coth", "sech", "csch", "arcsinh", "arccosh", "arctanh", "log", "ln", "exp", "gcd", "lcm", "max", "min", "det", "floor",
          "ceil", "abs"}) {
      words[name] = {Type::kFunction, name};
    }
    const std::pair<std::string_view, std::string_view> kOtherNames[] = {
        {"asin", "arcsin"}, {"acos", "arccos"}, {"atan", "arctan"}, {"acot", "arccot"}, {"asec", "arcsec"}, {"acsc", "arccsc"},
        {"asinh", "arcsinh"}, {"acosh", "arccosh"}, {"atanh", "arctanh"}, {"arsinh", "arcsinh"}, {"arcosh", "arccosh"},
        {"artanh", "arctanh"}, {"cosec", "csc"}, {"tg", "tan"}, {"ctg", "cot"}, {"arctg", "arctan"}};
    for (const auto& [name, function] : kOtherNames) words[name] = {Type::kFunction, function};
    return words;
  }();
  return kFunctions;
}

const Words& commands() {
  static const Words kCommands = {
      {"pi", {Type::kConstant, "pi"}},       {"infty", {Type::kConstant, "inf"}},   {"infinity", {Type::kConstant, "inf"}},
      {"imath", {Type::kConstant, "i"}},     {"lg", {Type::kFunction, "log"}},      {"Re", {Type::kFunction, "Re"}},
      {"Im", {Type::kFunction, "Im"}},       {"arg", {Type::kFunction, "arg"}},
      {"cdot", {Type::kOperator, "*"}},      {"times", {Type::kOperator, "*"}},     {"ast", {Type::kOperator, "*"}},
      {"bullet", {Type::kOperator, "*"}},
      {"div", {Type::kOperator, "/"}},       {"pm", {Type::kOperator, "+-"}},       {"mp", {Type::kOperator, "-+"}},
      {"le", {Type::kOperator, "<="}},       {"leq", {Type::kOperator, "<="}},      {"leqslant", {Type::kOperator, "<="}},
      {"ge", {Type::kOperator, ">="}},       {"geq", {Type::kOperator, ">="}},      {"geqslant", {Type::kOperator, ">="}},
      {"lt", {Type::kOperator, "<"}},        {"gt", {Type::kOperator, ">"}},        {"ne", {Type::kOperator, "!="}},
      {"neq", {Type::kOperator, "!="}},      {"approx", {Type::kOperator, "~"}},    {"simeq", {Type::kOperator, "~"}},
      {"equiv", {Type::kOperator, "="}},     {"in", {Type::kOperator, "in"}},       {"cup", {Type::kOperator, "cup"}},
      {"cap", {Type::kOperator, "cap"}},     {"setminus", {Type::kOperator, "setminus"}},
      {"backslash", {Type::kOperator, "setminus"}},                                 {"bmod", {Type::kOperator, "mod"}},
      {"mod", {Type::kOperator, "mod"}},     {"mid", {Type::kOperator, "|"}},       {"vert", {Type::kOperator, "|"}},
      {"lvert", {Type::kOperator, "|"}},     {"rvert", {Type::kOperator, "|"}},     {"colon", {Type::kOperator, ":"}},
      {"prime", {Type::kOperator, "'"}},     {"circ", {Type::kOperator, "deg"}},    {"degree", {Type::kOperator, "deg"}},
      {"land", {Type::kOperator, "and"}},    {"lor", {Type::kOperator, "or"}},      {"wedge", {Type::kOperator, "and"}},
      {"vee", {Type::kOperator, "or"}},      {"ldots", {Type::kSymbol, "..."}},     {"dots", {Type::kSymbol, "..."}},
      {"cdots", {Type::kSymbol, "..."}},     {"sum", {Type::kCommand, "sum"}},      {"prod", {Type::kCommand, "prod"}},
      {"int", {Type::kCommand, "int"}},      {"lim", {Type::kCommand, "lim"}},      {"to", {Type::kOperator, "to"}},
      {"bigcup", {Type::kCommand, "bigcup"}}, {"bigcap", {Type::kCommand, "bigcap"}}, {"longrightarrow", {Type::kOperator, "to"}},
      {"rightarrow", {Type::kOperator, "to"}},                                      {"emptyset", {Type::kCommand, "emptyset"}},
      {"varnothing", {Type::kCommand, "emptyset"}},                                 {"frac", {Type::kCommand, "frac"}},
      {"dfrac", {Type::kCommand, "frac"}},   {"tfrac", {Type::kCommand, "frac"}},   {"cfrac", {Type::kCommand, "frac"}},
      {"sqrt", {Type::kCommand, "sqrt"}},    {"binom", {Type::kCommand, "binom"}},  {"dbinom", {Type::kCommand, "binom"}},
      {"tbinom", {Type::kCommand, "binom"}}, {"choose", {Type::kOperator, "choose"}},
      {"begin", {Type::kCommand, "begin"}},  {"end", {Type::kCommand, "end"}},      {"mathbb", {Type::kCommand, "mathbb"}},
      {"overline", {Type::kCommand, "bar"}}, {"bar", {Type::kCommand, "bar"}},      {"vec", {Type::kCommand, "vec"}},
      {"overrightarrow", {Type::kCommand, "vec"}},                                  {"hat", {Type::kCommand, "hat"}},
      {"widehat", {Type::kCommand, "hat"}},  {"tilde", {Type::kCommand, "tilde"}},  {"lfloor", {Type::kOpen, "lfloor"}},
      {"rfloor", {Type::kClose, "rfloor"}},  {"lceil", {Type::kOpen, "lceil"}},     {"rceil", {Type::kClose, "rceil"}},
      {"langle", {Type::kOpen, "<"}},        {"rangle", {Type::kClose, ">"}},       {"lbrace", {Type::kOpen, "\\{"}},
      {"rbrace", {Type::kClose, "\\}"}},     {"lbrack", {Type::kOpen, "["}},        {"rbrack", {Type::kClose, "]"}},
      {"lgroup", {Type::kOpen, "("}},        {"rgroup", {Type::kClose, ")"}},       {"llcorner", {Type::kOpen, "lfloor"}},
      {"lrcorner", {Type::kClose, "rfloor"}}, {"ulcorner", {Type::kOpen, "lceil"}}, {"urcorner", {Type::kClose, "rceil"}},
      {"lVert", {Type::kOperator, "|"}},     {"rVert", {Type::kOperator, "|"}},     {"Vert", {Type::kOperator, "|"}},
      {"leqq", {Type::kOperator, "<="}},     {"geqq", {Type::kOperator, ">="}},     {"mleft", {Type::kIgnored, ""}},
      {"mright", {Type::kIgnored, ""}},      {"exponentialE", {Type::kConstant, "e"}}, {"imaginaryI", {Type::kConstant, "i"}},
      {"displaystyle", {Type::kIgnored, ""}}, {"textstyle", {Type::kIgnored, ""}},  {"left", {Type::kIgnored, ""}},
      {"right", {Type::kIgnored, ""}},       {"middle", {Type::kIgnored, ""}},      {"big", {Type::kIgnored, ""}},
      {"Big", {Type::kIgnored, ""}},         {"bigl", {Type::kIgnored, ""}},        {"bigr", {Type::kIgnored, ""}},
      {"Bigl", {Type::kIgnored, ""}},        {"Bigr", {Type::kIgnored, ""}},        {"bigg", {Type::kIgnored, ""}},
      {"limits", {Type::kIgnored, ""}},      {"nolimits", {Type::kIgnored, ""}},    {"quad", {Type::kIgnored, ""}},
      {"qquad", {Type::kIgnored, ""}},       {"hline", {Type::kIgnored, ""}},       {"rm", {Type::kIgnored, ""}},
      {"bf", {Type::kIgnored, ""}},          {"it", {Type::kIgnored, ""}},          {"angle", {Type::kIgnored, ""}},
      {"triangle", {Type::kIgnored, ""}},    {"boxed", {Type::kIgnored, ""}},       {"fbox", {Type::kIgnored, ""}},
      {"phantom", {Type::kIgnored, ""}},     {"therefore", {Type::kIgnored, ""}},
  };
  return kCommands;
}

const Words& plain_words() {
  static const Words kWords = {
      {"pi", {Type::kConstant, "pi"}},       {"infinity", {Type::kConstant, "inf"}}, {"inf", {Type::kConstant, "inf"}},
      {"oo", {Type::kConstant, "inf"}},      {"sqrt", {Type::kCommand, "sqrt"}},     {"and", {Type::kOperator, "and"}},
      {"or", {Type::kOperator, "or"}},       {"percent", {Type::kOperator, "%"}},    {"percentage", {Type::kOperator, "%"}},
      {"pct", {Type::kOperator, "%"}},       {"degrees", {Type::kOperator, "deg"}},  {"degree", {Type::kOperator, "deg"}},
      {"deg", {Type::kOperator, "deg"}},     {"mod", {Type::kOperator, "mod"}},      {"union", {Type::kOperator, "cup"}},
      {"per", {Type::kOperator, "/"}},       {"sq", {Type::kText, "sq"}},
      {"alpha", {Type::kSymbol, "\\alpha"}}, {"beta", {Type::kSymbol, "\\beta"}},    {"theta", {Type::kSymbol, "\\theta"}},
      {"lambda", {Type::kSymbol, "\\lambda"}},
  };
  return kWords;
}

const Words& glyphs() {
  static const Words kGlyphs = {
      {"−", {Type::kOperator, "-"}},   {"–", {Type::kOperator, "-"}},    {"×", {Type::kOperator, "*"}},
      {"·", {Type::kOperator, "*"}},   {"⋅", {Type::kOperator, "*"}},    {"÷", {Type::kOperator, "/"}},
      {"±", {Type::kOperator, "+-"}},  {"∓", {Type::kOperator, "-+"}},   {"≤", {Type::kOperator, "<="}},
      {"≥", {Type::kOperator, ">="}},  {"≠", {Type::kOperator, "!="}},   {"≈", {Type::kOperator, "~"}},
      {"∈", {Type::kOperator, "in"}},  {"∪", {Type::kOperator, "cup"}},  {"∩", {Type::kOperator, "cap"}},
      {"∖", {Type::kOperator, "setminus"}}, {"°", {Type::kOperator, "deg"}}, {"π", {Type::kConstant, "pi"}},
      {"∞", {Type::kConstant, "inf"}}, {"√", {Type::kCommand, "sqrt"}},  {"∅", {Type::kCommand, "emptyset"}},
      {"ℝ", {Type::kCommand, "R"}},    {"ℤ", {Type::kCommand, "Z"}},     {"ℚ", {Type::kCommand, "Q"}},
      {"ℕ", {Type::kCommand, "N"}},    {"ℂ", {Type::kCommand, "C"}},     {"²", {Type::kCommand, "^2"}},
      {"³", {Type::kCommand, "^3"}},   {"α", {Type::kSymbol, "\\alpha"}}, {"β", {Type::kSymbol, "\\beta"}},
      {"γ", {Type::kSymbol, "\\gamma"}}, {"θ", {Type::kSymbol, "\\theta"}}, {"λ", {Type::kSymbol, "\\lambda"}},
      {"φ", {Type::kSymbol, "\\phi"}}, {"ω", {Type::kSymbol, "\\omega"}}, {"μ", {Type::kSymbol, "\\mu"}},
      {"€", {Type::kIgnored, ""}},     {"£", {Type::kIgnored, ""}},      {"¥", {Type::kIgnored, ""}},
      {"₹", {Type::kIgnored, ""}},     {"¢", {Type::kIgnored, ""}},      {"∠", {Type::kIgnored, ""}},
      {"\xC2\xA0", {Type::kIgnored, ""}}, {"\xE2\x80\x89", {Type::kIgnored, ""}}, {"…", {Type::kSymbol, "..."}},
      {"→", {Type::kOperator, "to"}},  {"½", {Type::kCommand, "1/2"}},   {"¼", {Type::kCommand, "1/4"}},
      {"¾", {Type::kCommand, "3/4"}},
  };
  return kGlyphs;
}

const std::unordered_map<std::string_view, std::string_view>& greek() {
  static const std::unordered_map<std::string_view, std::string_view> kGreek = {
      {"alpha", "\\alpha"}, {"beta", "\\beta"},     {"gamma", "\\gamma"}, {"delta", "\\delta"},   {"epsilon", "\\epsilon"},
      {"zeta", "\\zeta"},   {"eta", "\\eta"},       {"theta", "\\theta"}, {"iota", "\\iota"},     {"kappa", "\\kappa"},
      {"lambda", "\\lambda"}, {"mu", "\\mu"},       {"nu", "\\nu"},       {"xi", "\\xi"},         {"rho", "\\rho"},
      {"sigma", "\\sigma"}, {"tau", "\\tau"},       {"upsilon", "\\upsilon"}, {"phi", "\\phi"},   {"chi", "\\chi"},
      {"psi", "\\psi"},     {"omega", "\\omega"},   {"Gamma", "\\Gamma"}, {"Delta", "\\Delta"},   {"Theta", "\\Theta"},
      {"Lambda", "\\Lambda"}, {"Sigma", "\\Sigma"}, {"Phi", "\\Phi"},     {"Psi", "\\Psi"},       {"Omega", "\\Omega"},
      {"varepsilon", "\\epsilon"}, {"vartheta", "\\theta"}, {"varphi", "\\phi"}, {"ell", "\\ell"}, {"partial", "\\partial"},
  };
  return kGreek;
}

std::optional<MathWord> found(const Words& words, std::string_view word) {
  const auto at = words.find(word);
  return at == words.end() ? std::nullopt : std::optional(at->second);
}

struct UnitRow {
  std::string_view names;  // separated by spaces; a plural s is understood from three letters on
  std::string_view dimension;
  std::int64_t top;
  std::int64_t bottom;
};

constexpr UnitRow kUnits[] = {
    {"mm millimeter millimetre", "length", 1, 1000}, {"cm centimeter centimetre", "length", 1, 100},
    {"dm decimeter decimetre", "length", 1, 10}, {"m meter metre", "length", 1, 1}, {"km kilometer kilometre", "length", 1000, 1},
    {"in inch inches", "length", 254, 10000}, {"ft foot feet", "length", 3048, 10000}, {"yd yard", "length", 9144, 10000},
    {"mi mile", "length", 1609344, 1000}, {"mg milligram", "mass", 1, 1000}, {"g gram", "mass", 1, 1},
    {"kg kilogram", "mass", 1000, 1}, {"ml milliliter millilitre", "volume", 1, 1000}, {"l liter litre", "volume", 1, 1},
    {"gal gallon", "gallon", 1, 1}, {"lb lbs pound", "pound", 1, 1}, {"oz ounce", "ounce", 1, 1},
    {"s sec secs second", "time", 1, 1},
    {"min mins minute", "time", 60, 1}, {"h hr hrs hour", "time", 3600, 1}, {"day", "time", 86400, 1}, {"week", "time", 604800, 1},
    {"month", "month", 1, 1}, {"yr yrs year", "month", 12, 1}, {"km/h kmh kph", "speed", 1000, 3600}, {"m/s", "speed", 1, 1},
    {"mph mi/h", "mph", 1, 1}, {"dollar usd", "dollar", 1, 1}, {"cent", "dollar", 1, 100}, {"acre", "acre", 1, 1},
};

}  // namespace

std::optional<MathWord> math_command(std::string_view name) {
  if (const auto command = found(commands(), name)) return command;
  if (const auto function = found(functions(), name)) return function;
  const auto letter = greek().find(name);
  return letter == greek().end() ? std::nullopt : std::optional(MathWord{Type::kSymbol, letter->second});
}

std::optional<MathWord> math_word(std::string_view word) {
  const auto plain = found(plain_words(), word);
  return plain ? plain : found(functions(), word);
}

std::optional<MathGlyph> math_glyph(std::string_view text) {
  for (const std::size_t bytes : {std::size_t{2}, std::size_t{3}}) {
    if (text.size() < bytes) break;
    if (const auto word = found(glyphs(), text.substr(0, bytes))) return MathGlyph{*word, bytes};
  }
  return std::nullopt;
}

bool is_trigonometric(std::string_view function) {
  static const std::unordered_set<std::string_view> kNames = {"sin", "cos", "tan", "cot", "sec", "csc"};
  return kNames.contains(function);
}

bool is_hyperbolic(std::string_view function) {
  static const std::unordered_set<std::string_view> kNames = {"sinh", "cosh", "tanh", "coth", "sech", "csch"};
  return kNames.contains(function);
}

std::optional<MathUnit> math_unit(std::string_view name) {
  static const std::unordered_map<std::string_view, const UnitRow*> kByName = [] {
    std::unordered_map<std::string_view, const UnitRow*> units;
    for (const UnitRow& row : kUnits) {
      for (std::string_view rest = row.names; !rest.empty();) {
        const std::size_t end = std::min(rest.find(' '), rest.size());
        units[rest.substr(0, end)] = &row;
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
    }
    return units;
  }();
  auto at = kByName.find(name);
  if (at == kByName.end() && name.size() >= 4 && name.ends_with('s')) at = kByName.find(name.substr(0, name.size() - 1));
  if (at == kByName.end()) return std::nullopt;
  return MathUnit{at->second->dimension, Rational(at->second->top, at->second->bottom)};
}

}  // namespace troupe
