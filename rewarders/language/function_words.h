#pragma once

#include <span>
#include <string>
#include <string_view>

namespace troupe {

/// Whether function_words.cpp has the function words (articles, pronouns, prepositions …) of a language.
bool has_function_words(const std::string& language);

bool is_function_word(std::string_view word, const std::string& language);

/// The language to which most of these words (lower case, UTF-8) belong as function words, or by a letter that it alone has (two votes).
struct FunctionWordVote {
  std::string language;  // empty where none leads
  int votes = 0;
  int next = 0;  // of the language that comes second
};
FunctionWordVote function_word_vote(std::span<const std::string> words);

}  // namespace troupe
