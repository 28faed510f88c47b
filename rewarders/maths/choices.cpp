#include "rewarders/maths/choices.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

#include "common/base/text.h"
#include "rewarders/maths/words.h"

namespace troupe {
namespace {

constexpr std::size_t kMaxTextBytes = 50'000;
constexpr std::size_t kMaxBetween = 40;

constexpr std::array<std::string_view, 14> kCues = {"answer",    "option", "choice", "réponse", "respuesta", "resposta", "risposta",
                                                    "antwort", "ответ",  "答案",   "答え",    "정답",      "الإجابة", "उत्तर"};

bool is_ascii_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '\''; }
/// The first byte of an accented Latin letter.
bool begins_accented(char c) { return static_cast<unsigned char>(c) >= 0xC3 && static_cast<unsigned char>(c) <= 0xC5; }
bool is_choice(char c) { return c >= 'A' && c <= 'J'; }

/// Whether a capital letter stands alone at `at`, and is neither the article nor the pronoun of English.
bool stands_alone(std::string_view text, std::size_t at) {
  if (!is_choice(text[at])) return false;
  if (at > 0 && (is_ascii_word(text[at - 1]) || text[at - 1] == '\\')) return false;
  if (at + 1 == text.size()) return true;
  const char next = text[at + 1];
  if (is_ascii_word(next) || begins_accented(next)) return false;
  const bool before_word = next == ' ' && at + 2 < text.size() && std::islower(static_cast<unsigned char>(text[at + 2])) != 0;
  return !before_word || (text[at] != 'A' && text[at] != 'I');
}

/// Whether these words between a cue and a letter leave the letter stated.
bool states(std::string_view between) {
  const std::string text = " " + std::string(between) + " ";
  for (const std::string_view denial : {" not ", "n't ", " because ", " if ", " nor ", "\n\n", ". "}) {
    if (text.find(denial) != std::string::npos) return false;
  }
  return true;
}

}  // namespace

bool is_choice_gold(std::string_view gold) {
  const std::string plain = plain_words(gold);
  if (plain.size() != 1 || plain[0] < 'a' || plain[0] > 'j') return false;
  return gold.find(static_cast<char>(plain[0] - 'a' + 'A')) != std::string_view::npos;
}

std::optional<char> stated_choice(std::string_view text) {
  if (text.size() > kMaxTextBytes) text.remove_prefix(text.size() - kMaxTextBytes);
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  std::size_t last = 0;
  std::optional<char> stated;
  for (const std::string_view cue : kCues) {
    for (std::size_t at = lower.find(cue); at != std::string::npos; at = lower.find(cue, at + cue.size())) {
      const std::size_t from = at + cue.size();
      const std::size_t end = std::min(text.size(), from + kMaxBetween);
      std::size_t letter = from;
      while (letter < end && !stands_alone(text, letter)) ++letter;
      if (letter == end || from < last || !states(text.substr(from, letter - from))) continue;
      last = from;
      stated = text[letter];
    }
  }
  return stated;
}

std::optional<char> named_choice(std::string_view text) {
  text = trim(text);
  if (text.size() > kMaxTextBytes) text.remove_prefix(text.size() - kMaxTextBytes);
  const std::size_t front = text.find_first_not_of("*( ");
  if (front != std::string_view::npos && stands_alone(text, front)) {
    const char next = front + 1 < text.size() ? text[front + 1] : '.';
    const bool marked = std::string_view(".):,\n*").find(next) != std::string_view::npos || static_cast<unsigned char>(next) >= 0xE0;
    if (marked) return text[front];
  }
  for (std::size_t at = text.size(); at-- > 0;) {
    if (stands_alone(text, at)) return text[at];
  }
  return std::nullopt;
}

}  // namespace troupe
