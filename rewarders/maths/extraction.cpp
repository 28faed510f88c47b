#include "rewarders/maths/extraction.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "common/base/text.h"
#include "rewarders/maths/choices.h"
#include "rewarders/maths/formulas.h"
#include "rewarders/maths/parser.h"
#include "rewarders/maths/words.h"

namespace troupe {
namespace {

constexpr std::size_t kMaxBoxes = 32;
constexpr std::size_t kMaxPhraseBytes = 1000;

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return result;
}

/// A box by its place: the whole of it and what it holds.
struct Box {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::string_view inside;
};

/// The last box that begins before `limit`; its end is npos where it is not closed before `limit`.
std::optional<Box> last_box_before(std::string_view text, std::size_t limit) {
  const std::string_view head = text.substr(0, limit);
  const std::size_t boxed = head.rfind("\\boxed");
  const std::size_t fbox = head.rfind("\\fbox");
  if (boxed == std::string_view::npos && fbox == std::string_view::npos) return std::nullopt;
  const bool is_boxed = fbox == std::string_view::npos || (boxed != std::string_view::npos && boxed > fbox);
  Box box;
  box.begin = is_boxed ? boxed : fbox;
  std::size_t at = box.begin + (is_boxed ? 6 : 5);
  while (at < limit && at < text.size() && std::isspace(static_cast<unsigned char>(text[at])) != 0) ++at;
  if (at >= text.size() || text[at] != '{') {  // \boxed 5
    box.end = std::min(text.find_first_of(" \t\n$.,;", at), text.size());
    box.inside = text.substr(at, box.end - at);
    return box;
  }
  int depth = 0;
  for (std::size_t i = at; i < head.size(); ++i) {
    if (head[i] == '\\' && i + 1 < head.size() && (head[i + 1] == '{' || head[i + 1] == '}')) {
      ++i;
      continue;
    }
    depth += head[i] == '{' ? 1 : head[i] == '}' ? -1 : 0;
    if (depth != 0) continue;
    box.end = i + 1;
    box.inside = trim(head.substr(at + 1, i - at - 1));
    return box;
  }
  box.end = std::string_view::npos;
  box.inside = head.substr(at + 1);
  return box;
}

/// Whether a box belongs to the one behind it: close by, or joined to it by a word or sign within a short text.
bool belongs_together(std::string_view between, std::string_view inside, std::string_view next) {
  if (between.size() < 10) return true;
  if (between.size() >= 70 || inside == next) return false;
  if (between.find_first_of(",;") != std::string_view::npos) return true;
  const std::string spaced = " " + lower(between) + " ";
  return spaced.find(" and ") != std::string::npos || spaced.find(" or ") != std::string::npos ||
         spaced.find("{and}") != std::string::npos;
}

/// The rest of a sentence, without the emphasis around it and the courtesies behind it.
std::string sentence(std::string_view text) {
  std::size_t end = std::min({text.find('\n'), text.find("<|"), text.find("I hope"), text.find("</"), text.size()});
  for (std::size_t stop = text.find(". "); stop < end; stop = text.find(". ", stop + 1)) end = std::min(end, stop);
  std::string_view rest = trim(text.substr(0, end));
  while (!rest.empty() && (rest.front() == '*' || rest.front() == ':' || rest.front() == ' ')) rest.remove_prefix(1);
  while (!rest.empty() && (rest.back() == '*' || rest.back() == '.' || rest.back() == ' ')) rest.remove_suffix(1);
  return std::string(rest);
}

/// Two words or more that are neither commands nor functions.
bool is_prose(std::string_view text) {
  int words = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool command = text[i] == '\\';
    const std::size_t from = command ? ++i : i;
    while (i < text.size() && std::isalpha(static_cast<unsigned char>(text[i])) != 0) ++i;
    if (!command && i - from >= 2 && !math_word(text.substr(from, i - from))) ++words;
  }
  return words >= 2;
}

/// Whether it can be read and has no words in it, which make most sentences readable.
bool is_pure_mathematics(std::string_view text) {
  if (is_prose(text)) return false;
  const auto tree = parse_math(text, {}, nullptr);
  const auto has_words = [](const MathNode& node) { return node.is(MathKind::kText) || node.is(MathKind::kQuantity); };
  return tree && !math_contains(*tree, has_words);
}

bool is_one_word(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; });
}

std::optional<std::string> said(std::string_view rest) {
  rest = rest.substr(0, kMaxPhraseBytes);
  if (const std::size_t first = rest.find_first_not_of(" \n\t:*\""); first != std::string_view::npos) rest.remove_prefix(first);
  if (rest.starts_with("\\\"")) rest.remove_prefix(2);
  if (const auto formula = leading_formula(rest)) return formula;
  std::string text = sentence(rest);
  if (const std::size_t is = text.rfind(" is "); is != std::string::npos) text = text.substr(is + 4);
  if (text.empty()) return std::nullopt;
  if (is_pure_mathematics(text) || choice_letter(text)) return text;
  if (const auto number = leading_number(text)) return number;
  if (const auto found = last_formula_or_number(text)) return found;
  return text;
}

/// Behind the last of the phrases, the strong ones first.
std::optional<std::string> phrase_answer(std::string_view completion, bool strong_only) {
  static constexpr std::array<std::string_view, 5> kPhrases = {"final answer is", "final answer:", "answer is", "answer:",
                                                              "answer**:"};
  const std::string text = lower(completion);
  const auto last_of = [&](std::size_t from, std::size_t to) {
    std::size_t best = 0;
    for (std::size_t i = from; i < to; ++i) {
      const std::size_t at = text.rfind(kPhrases[i]);
      if (at != std::string::npos) best = std::max(best, at + kPhrases[i].size());
    }
    return best;
  };
  std::size_t behind = last_of(0, 2);
  if (behind == 0 && !strong_only) behind = last_of(2, kPhrases.size());
  return behind == 0 ? std::nullopt : said(completion.substr(behind));
}

/// What stands in an answer tag or behind "####": its box, else what it says.
std::string refined(const std::string& text) {
  if (const auto boxed = boxed_answer(text)) return *boxed;
  if (const auto phrase = phrase_answer(text, false)) return *phrase;
  if (text.size() > kMaxPhraseBytes || parse_math(text, {}, nullptr)) return text;
  const auto formula = last_formula(text);
  return formula ? formula->text : text;
}

std::optional<std::string> boxed_or_said_after(std::string_view completion) {
  const auto boxed = boxed_answer(completion);
  if (!boxed) return std::nullopt;
  const auto box = last_box_before(completion, completion.size());
  const auto after = phrase_answer(completion.substr(box->end), true);
  return after ? after : boxed;
}

/// The end of a long completion from the start of a line on, where no formula is cut in two but one of several lines.
std::string_view tail_of(std::string_view completion) {
  constexpr std::size_t kMaxTailBytes = 50'000;
  if (completion.size() <= kMaxTailBytes) return completion;
  const std::string_view tail = completion.substr(completion.size() - kMaxTailBytes);
  return tail.substr(std::min(tail.find('\n') + 1, tail.size()));  // npos + 1 is 0
}

std::optional<std::string> last_of_all(std::string_view completion) {
  const std::string_view whole = trim(completion);
  const bool short_text = !whole.empty() && whole.size() <= kMaxPhraseBytes;
  if (short_text && (is_one_word(whole) || is_pure_mathematics(whole))) return std::string(whole);
  return last_formula_or_number(tail_of(completion));
}

std::optional<std::string> answer_from(const std::string& source, std::string_view completion) {
  if (source == "tag") {
    const auto tagged = last_tagged(completion, "answer");
    return tagged ? std::optional(refined(*tagged)) : std::nullopt;
  }
  if (source == "boxed") return boxed_or_said_after(completion);
  if (source == "hash") {
    const std::size_t at = completion.rfind("####");
    if (at == std::string_view::npos) return std::nullopt;
    const std::string_view rest = completion.substr(at + 4);
    return refined(std::string(trim(rest.substr(0, rest.find('\n')))));
  }
  if (source == "phrase") return phrase_answer(completion, false);
  if (source == "last") return last_of_all(completion);
  const auto found = source == "latex" ? last_formula(tail_of(completion)) : last_number(tail_of(completion));
  return found ? std::optional(found->text) : std::nullopt;
}

}  // namespace

const std::vector<std::string>& answer_sources() {
  static const std::vector<std::string> kSources = {"tag", "boxed", "hash", "phrase", "latex", "number", "last"};
  return kSources;
}

const std::vector<std::string>& usual_answer_sources() {
  static const std::vector<std::string> kUsual = {"tag", "boxed", "hash", "phrase", "last"};
  return kUsual;
}

std::optional<std::string> last_tagged(std::string_view text, std::string_view tag) {
  const std::string open = "<" + std::string(tag) + ">";
  const std::string close = "</" + std::string(tag) + ">";
  const std::size_t end = text.rfind(close);
  if (end == std::string_view::npos) return std::nullopt;
  const std::size_t begin = text.substr(0, end).rfind(open);
  if (begin == std::string_view::npos) return std::nullopt;
  return std::string(trim(text.substr(begin + open.size(), end - begin - open.size())));
}

std::optional<std::string> boxed_answer(std::string_view text) {
  auto box = last_box_before(text, text.size());
  if (!box || box->end == std::string_view::npos) return std::nullopt;
  std::vector<std::string_view> boxes = {box->inside};
  while (boxes.size() < kMaxBoxes) {
    const auto before = last_box_before(text, box->begin);
    if (!before || before->end == std::string_view::npos) break;
    if (!belongs_together(text.substr(before->end, box->begin - before->end), before->inside, boxes.back())) break;
    if (before->inside != boxes.back()) boxes.push_back(before->inside);
    box = before;
  }
  std::string joined;
  for (auto part = boxes.rbegin(); part != boxes.rend(); ++part) joined += (joined.empty() ? "" : ", ") + std::string(*part);
  return joined;
}

std::optional<std::string> final_answer(std::string_view completion, const std::vector<std::string>& sources, bool choice) {
  for (const std::string& source : sources) {
    if (choice && (source == "phrase" || source == "last")) {
      const auto letter = source == "phrase" ? stated_choice(completion) : named_choice(completion);
      if (letter) return std::string(1, *letter);
    }
    if (auto found = answer_from(source, completion)) return found;
  }
  return std::nullopt;
}

std::string gold_answer(std::string_view gold) {
  if (const auto boxed = boxed_answer(gold)) return *boxed;
  if (const auto open = last_box_before(gold, gold.size())) return std::string(trim(open->inside));
  const auto said = phrase_answer(gold, true);
  return said ? *said : std::string(trim(gold));
}

}  // namespace troupe
