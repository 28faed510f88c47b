#include "rewarders/language/language_share.h"

#include <algorithm>
#include <cctype>
#include <cstdio>  // compact_lang_det.h lacks it
#include <map>
#include <set>
#include <vector>

#include <cld2/public/compact_lang_det.h>
#include <cld2/public/encodings.h>
#include <utf8proc.h>

#include "common/base/utf8.h"
#include "rewarders/language/function_words.h"
#include "rewarders/language/prose.h"

namespace troupe {
namespace {

/// The scripts of languages that are not written in Latin letters.
const std::map<std::string, std::vector<Script>>& scripts() {
  static const std::map<std::string, std::vector<Script>> kScripts = {
      {"zh", {Script::kHan}},        {"ja", {Script::kHan, Script::kKana}}, {"ko", {Script::kHangul}},
      {"ru", {Script::kCyrillic}},   {"uk", {Script::kCyrillic}},           {"be", {Script::kCyrillic}},
      {"bg", {Script::kCyrillic}},   {"mk", {Script::kCyrillic}},           {"sr", {Script::kCyrillic, Script::kLatin}},
      {"mn", {Script::kCyrillic}},   {"kk", {Script::kCyrillic}},           {"ky", {Script::kCyrillic}},
      {"tg", {Script::kCyrillic}},   {"el", {Script::kGreek}},              {"he", {Script::kHebrew}},
      {"iw", {Script::kHebrew}},     {"yi", {Script::kHebrew}},             {"ar", {Script::kArabic}},
      {"fa", {Script::kArabic}},     {"ur", {Script::kArabic}},             {"ps", {Script::kArabic}},
      {"hi", {Script::kDevanagari}}, {"mr", {Script::kDevanagari}},         {"ne", {Script::kDevanagari}},
      {"bn", {Script::kBengali}},    {"ta", {Script::kTamil}},              {"te", {Script::kTelugu}},
      {"th", {Script::kThai}},
  };
  return kScripts;
}

/// Languages of other scripts of their own (kOther) go by what CLD2 says.
bool writes_in(const std::string& language, Script script) {
  const auto found = scripts().find(language);
  if (found == scripts().end()) return script == Script::kLatin || script == Script::kOther;
  return std::find(found->second.begin(), found->second.end(), script) != found->second.end();
}

/// "zh" of "zh-Hant"; empty where CLD2 did not find out.
std::string code_of(CLD2::Language language) {
  if (language == CLD2::UNKNOWN_LANGUAGE || language == CLD2::TG_UNKNOWN_LANGUAGE) return "";
  const std::string code = CLD2::LanguageCode(language);
  return code.substr(0, code.find('-'));
}

struct Detection {
  std::string language;
  CLD2::ResultChunkVector chunks;

  /// The language of the passage at a byte.
  std::string at(std::size_t offset) const {
    const auto after = std::upper_bound(chunks.begin(), chunks.end(), offset,
                                        [](std::size_t place, const CLD2::ResultChunk& chunk) { return place < static_cast<std::size_t>(chunk.offset); });
    if (after == chunks.begin()) return "";
    const CLD2::ResultChunk& chunk = *std::prev(after);
    return code_of(static_cast<CLD2::Language>(chunk.lang1));
  }
};

Detection detect(std::string_view prose, int flags) {
  Detection detection;
  const CLD2::CLDHints no_hints{nullptr, nullptr, CLD2::UNKNOWN_ENCODING, CLD2::UNKNOWN_LANGUAGE};
  CLD2::Language three[3];
  int percents[3];
  double scores[3];
  int text_bytes = 0;
  int valid_bytes = 0;
  bool reliable = false;
  detection.language = code_of(CLD2::ExtDetectLanguageSummaryCheckUTF8(prose.data(), static_cast<int>(prose.size()), true, &no_hints, flags, three, percents,
                                                                       scores, &detection.chunks, &text_bytes, &reliable, &valid_bytes));
  return detection;
}

/// Words that stand together: of one sentence and one script (Han and kana are one).
struct Passage {
  std::vector<Word> words;
  std::vector<std::string> languages;  // of each word; empty where nothing tells
};

bool is_east_asian(Script script) { return script == Script::kHan || script == Script::kKana; }

bool ends_sentence(std::string_view between) {
  if (between.find('\n') != std::string_view::npos) return true;
  for (const std::string_view mark : {"。", "！", "？", "।", "؟"}) {
    if (between.find(mark) != std::string_view::npos) return true;
  }
  const std::size_t stop = between.find_first_of(".?!");
  return stop != std::string_view::npos && stop + 1 < between.size() && between.find(' ', stop) != std::string_view::npos;
}

std::vector<Passage> split_passages(std::string_view prose) {
  std::vector<Passage> passages;
  const Word* last = nullptr;
  for (const Word& word : words_of(prose)) {
    const bool same_script = last != nullptr && (word.script == last->script || (is_east_asian(word.script) && is_east_asian(last->script)));
    if (!same_script || ends_sentence(prose.substr(last->offset + last->bytes, word.offset - last->offset - last->bytes))) passages.emplace_back();
    passages.back().words.push_back(word);
    last = &passages.back().words.back();
  }
  return passages;
}

std::string_view text_of(const Passage& passage, std::string_view prose) {
  const Word& last = passage.words.back();
  return prose.substr(passage.words.front().offset, last.offset + last.bytes - passage.words.front().offset);
}

std::vector<std::string> lower_words(const Passage& passage, std::string_view prose) {
  std::vector<std::string> lower;
  for (const Word& word : passage.words) {
    lower.emplace_back();
    for (std::size_t at = word.offset; at < word.offset + word.bytes;) {
      const CodePoint c = code_point_at(prose, at);
      append_utf8(lower.back(), static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c.value))));
      at += c.bytes;
    }
  }
  return lower;
}

/// Kana are Japanese, and so are a few Han characters beside them; others are Chinese.
std::string east_asian(const Passage& passage, bool kana_elsewhere) {
  constexpr std::size_t kFewBytes = 3 * 4;
  std::size_t han_bytes = 0;
  for (const Word& word : passage.words) {
    if (word.script == Script::kKana) return "ja";
    han_bytes += word.bytes;
  }
  return kana_elsewhere && han_bytes <= kFewBytes ? "ja" : "zh";
}

/// The language of a passage by what CLD2 heard and by function words: two of these more than of any other language decide, and one
/// where CLD2 heard nothing or a language without a list. A lead of one that is contested, and a few words that CLD2 alone takes for
/// another than the wanted language, leave it open.
std::string weighed(const std::string& heard, const FunctionWordVote& vote, std::size_t words, const std::string& wanted) {
  constexpr std::size_t kFewWords = 8;
  const int lead = vote.votes - vote.next;
  const bool sure = lead >= 2 || vote.next == 0 || vote.language == wanted;
  const std::string voted = sure ? vote.language : "";
  if (heard.empty()) return voted;
  const bool listed = has_function_words(heard);
  if (heard == vote.language || (heard == wanted && !listed)) return heard;
  if (lead >= 2 || (lead == 1 && !listed)) return voted;
  return heard != wanted && words < kFewWords ? voted : heard;
}

void identify(Passage& passage, std::string_view prose, const std::string& wanted) {
  constexpr std::size_t kManyWords = 16;  // beyond, a passage may be in several languages
  const Detection detection = detect(text_of(passage, prose), 0);
  const std::string heard = writes_in(detection.language, passage.words.front().script) ? detection.language : "";
  const std::string whole = weighed(heard, function_word_vote(lower_words(passage, prose)), passage.words.size(), wanted);
  const std::size_t begin = passage.words.front().offset;
  for (const Word& word : passage.words) {
    const std::string here = passage.words.size() >= kManyWords && heard == whole ? detection.at(word.offset - begin) : "";
    passage.languages.push_back(here.empty() ? whole : here);
  }
}

/// The passages with their languages. What neither CLD2 nor function words know goes by CLD2's best guess where that is the
/// wanted language or one that the text is known to have.
std::vector<Passage> passages_of(std::string_view prose, const std::string& wanted) {
  std::vector<Passage> passages = split_passages(prose);
  const bool kana = std::any_of(passages.begin(), passages.end(), [](const Passage& passage) { return east_asian(passage, false) == "ja"; });
  std::set<std::string> known = {wanted};
  for (Passage& passage : passages) {
    if (is_east_asian(passage.words.front().script)) {
      passage.languages.assign(passage.words.size(), east_asian(passage, kana));
    } else {
      identify(passage, prose, wanted);
    }
    known.insert(passage.languages.begin(), passage.languages.end());
  }
  known.erase("");
  for (Passage& passage : passages) {
    if (!passage.languages.front().empty()) continue;
    const std::string guess = detect(text_of(passage, prose), CLD2::kCLDFlagBestEffort).language;
    if (known.contains(guess)) passage.languages.assign(passage.words.size(), guess);
  }
  return passages;
}

/// Whether CLD2's best guess of a text of which nothing is sure is another language, of which it has more function words than of the
/// wanted one.
bool sounds_foreign(std::string_view prose, const std::string& wanted) {
  const std::string guess = detect(prose, CLD2::kCLDFlagBestEffort).language;
  if (guess.empty() || guess == wanted || !has_function_words(guess) || !has_function_words(wanted)) return false;
  int guessed = 0;
  int own = 0;
  for (const Passage& passage : split_passages(prose)) {
    for (const std::string& word : lower_words(passage, prose)) {
      guessed += is_function_word(word, guess) ? 1 : 0;
      own += is_function_word(word, wanted) ? 1 : 0;
    }
  }
  return guessed > own;
}

}  // namespace

std::optional<std::string> language_code(std::string_view name) {
  const std::string text(name);
  std::string upper = text;  // most of CLD2's names are in capitals
  std::transform(upper.begin(), upper.end(), upper.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  for (const std::string& form : {text, upper, text.substr(0, text.find_first_of("-_"))}) {
    const std::string code = code_of(CLD2::GetLanguageFromName(form.c_str()));
    if (!code.empty()) return code;
  }
  return std::nullopt;
}

std::optional<std::string> language_of(std::string_view text) {
  const std::string prose = prose_of(text);
  if (words_of(prose).empty()) return std::nullopt;
  for (const int flags : {0, static_cast<int>(CLD2::kCLDFlagBestEffort)}) {
    const std::string code = detect(prose, flags).language;
    if (!code.empty()) return code;
  }
  return std::nullopt;
}

std::optional<double> language_share(std::string_view text, const std::string& language) {
  const std::string prose = prose_of(text);
  double in_it = 0;
  double in_others = 0;
  double open = 0;  // in a script of the language, and nothing can tell
  for (const Passage& passage : passages_of(prose, language)) {
    for (std::size_t i = 0; i < passage.words.size(); ++i) {
      const Word& word = passage.words[i];
      const std::string& found = passage.languages[i];
      const bool fits = writes_in(language, word.script);
      if (!fits || (!found.empty() && found != language && writes_in(found, word.script))) {
        in_others += word.weight;
      } else if (found == language) {
        in_it += word.weight;
      } else {
        open += word.weight;
      }
    }
  }
  if (in_it + in_others == 0 && sounds_foreign(prose, language)) in_others = open;
  if (in_it + in_others == 0) in_it = open;
  if (in_it + in_others == 0) return std::nullopt;
  return in_it / (in_it + in_others);
}

}  // namespace troupe
