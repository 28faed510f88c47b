#include "rewarders/maths/words.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "common/base/text.h"

namespace troupe {
namespace {

constexpr std::array<std::string_view, 16> kWrappers = {"text",   "textbf", "textit", "textrm",       "textnormal", "mbox",
                                                        "mathrm", "mathbf", "mathit", "mathsf",       "operatorname", "textsf",
                                                        "texttt", "boxed",  "fbox",   "hbox"};
constexpr std::array<std::string_view, 8> kSpacings = {"left", "right", "quad", "qquad", "displaystyle", "textstyle", "bf", "rm"};

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

template <typename List>
bool contains(const List& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

/// The words of letters and of digits.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  char last = ' ';
  for (const char raw : text) {
    const char c = static_cast<char>(std::tolower(static_cast<unsigned char>(raw)));
    if (is_letter(c) || is_digit(c)) {
      const bool joined = (is_letter(c) && is_letter(last)) || (is_digit(c) && is_digit(last));
      if (!joined) words.emplace_back();
      words.back() += c;
    }
    last = c;
  }
  return words;
}

int month_of(const std::string& word) {
  static constexpr std::array<std::string_view, 12> kMonths = {"january", "february", "march",     "april",
                                                               "may",     "june",     "july",      "august",
                                                               "september", "october", "november", "december"};
  for (std::size_t i = 0; i < kMonths.size(); ++i) {
    if (word == kMonths[i] || (word.size() == 3 && kMonths[i].starts_with(word))) return static_cast<int>(i) + 1;
  }
  return 0;
}

bool is_number(const std::string& word) {
  return !word.empty() && word.size() <= 4 && std::all_of(word.begin(), word.end(), is_digit);
}

std::string spelled(int year, int month, int day) {
  return (year > 0 ? std::to_string(year) + "-" : std::string()) + std::to_string(month) + "-" + std::to_string(day);
}

/// "March 5, 2020", "5th of March", "May 2".
std::optional<std::string> named_date(const std::vector<std::string>& words) {
  int month = 0;
  std::vector<int> numbers;
  for (const std::string& word : words) {
    if (is_number(word)) {
      numbers.push_back(std::stoi(word));
    } else if (month == 0 && month_of(word) != 0) {
      month = month_of(word);
    } else if (word != "of" && word != "the" && word != "th" && word != "st" && word != "nd" && word != "rd") {
      return std::nullopt;
    }
  }
  if (month == 0 || numbers.empty() || numbers.size() > 2) return std::nullopt;
  if (numbers.size() == 2 && numbers[0] > 31) std::swap(numbers[0], numbers[1]);
  return spelled(numbers.size() == 2 ? numbers[1] : 0, month, numbers[0]);
}

std::optional<std::string> time_of_day(std::string_view text, std::vector<std::string> words) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 3 > text.size()) return std::nullopt;
  if (!is_digit(text[colon - 1]) || !is_digit(text[colon + 1]) || !is_digit(text[colon + 2])) return std::nullopt;
  if (words.size() == 4 && words[3] == "m") words = {words[0], words[1], words[2] + "m"};
  if (words.size() == 3 && words[2] == "00") words.pop_back();
  const bool half_named = words.size() == 3 && (words[2] == "am" || words[2] == "pm");
  if (words.size() != 2 && !half_named) return std::nullopt;
  if (!is_number(words[0]) || !is_number(words[1]) || words[1].size() != 2) return std::nullopt;
  int hour = std::stoi(words[0]);
  const int minute = std::stoi(words[1]);
  if (hour > 24 || minute > 59) return std::nullopt;
  if (half_named) hour = hour % 12 + (words[2] == "pm" ? 12 : 0);
  return std::to_string(hour) + ":" + words[1];
}

}  // namespace

std::string plain_words(std::string_view text) {
  std::string result;
  std::vector<bool> kept;  // of the open braces: whether they are part of the result
  bool wrapper = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && i + 1 < text.size() && is_letter(text[i + 1])) {
      std::size_t end = i + 1;
      while (end < text.size() && is_letter(text[end])) ++end;
      std::string_view name = text.substr(i + 1, end - i - 1);
      i = end - 1;
      wrapper = contains(kWrappers, name);
      if (name == "dfrac" || name == "tfrac") name = "frac";
      if (!wrapper && !contains(kSpacings, name)) result += "\\" + std::string(name);
    } else if (c == '\\' && i + 1 < text.size() && std::string_view(" ,;:!$").find(text[i + 1]) != std::string_view::npos) {
      ++i;
    } else if (c == '{') {
      kept.push_back(!wrapper);
      if (!wrapper) result += c;
      wrapper = false;
    } else if (c == '}' && !kept.empty()) {
      if (kept.back()) result += c;
      kept.pop_back();
    } else if (std::isspace(static_cast<unsigned char>(c)) == 0 && c != '$' && c != '"' && c != '`' && c != '~') {
      result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      wrapper = false;
    }
  }
  while (result.ends_with('.')) result.pop_back();
  if (result.size() == 3 && result[0] == '(' && is_letter(result[1]) && result[2] == ')') result = result.substr(1, 1);
  return result;
}

std::optional<char> choice_letter(std::string_view text) {
  const std::string plain = plain_words(text);
  const std::size_t at = plain.starts_with('(') ? 1 : 0;
  if (plain.size() < at + 2 || plain[at] < 'a' || plain[at] > 'j') return std::nullopt;
  const char behind = plain[at + 1];
  const bool marked = at == 1 ? behind == ')' : behind == ')' || behind == '.' || behind == ':';
  const char next = at + 2 < plain.size() ? plain[at + 2] : ' ';
  if (!marked || std::string_view("+-*/^=<>!,;)_").find(next) != std::string_view::npos) return std::nullopt;
  return static_cast<char>(plain[at] - 'a' + 'A');
}

std::optional<std::string> date_or_time(std::string_view text) {
  constexpr std::size_t kMaxLength = 40;
  std::string unwrapped;
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const std::string_view wrapper : {"\\text", "\\displaystyle"}) {
      if (text.substr(i).starts_with(wrapper)) i += wrapper.size();
    }
    if (i < text.size() && std::string_view("${}\\!").find(text[i]) == std::string_view::npos) unwrapped += text[i];
  }
  if (unwrapped.size() > kMaxLength) return std::nullopt;
  std::vector<std::string> words = words_of(unwrapped);
  if (words.size() < 2) return std::nullopt;
  if (const auto time = time_of_day(unwrapped, words)) return time;
  const bool three_numbers = words.size() == 3 && std::all_of(words.begin(), words.end(), is_number);
  const bool iso = three_numbers && words[0].size() == 4 && words[1].size() == 2 && words[2].size() == 2 &&
                   unwrapped.find('-') != std::string::npos && unwrapped.find_first_of(", ") == std::string::npos;
  if (iso) return spelled(std::stoi(words[0]), std::stoi(words[1]), std::stoi(words[2]));
  return named_date(words);
}

}  // namespace troupe
