#include "rewarders/language/language_share.h"

#include <algorithm>
#include <cctype>
#include <cstdio>  // compact_lang_det.h lacks it
#include <map>
#include <vector>

#include <cld2/public/compact_lang_det.h>
#include <cld2/public/encodings.h>

#include "rewarders/language/prose.h"

namespace troupe {
namespace {

/// The scripts of languages that are not written in Latin letters.
const std::map<std::string, std::vector<Script>>& scripts() {
  static const std::map<std::string, std::vector<Script>> kScripts = {
      {"zh", {Script::kHan}},        {"ja", {Script::kHan, Script::kKana}}, {"ko", {Script::kHangul, Script::kHan}},
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

Detection detect(const std::string& prose, int flags) {
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
  const Detection detection = detect(prose, 0);
  double in_it = 0;
  double in_others = 0;
  double open = 0;  // in a script of the language, and CLD2 cannot tell
  for (const Word& word : words_of(prose)) {
    const std::string passage = detection.at(word.offset);
    const bool fits = writes_in(language, word.script);
    if (!fits || (!passage.empty() && passage != language && writes_in(passage, word.script))) {
      in_others += word.weight;
    } else if (passage == language) {
      in_it += word.weight;
    } else {
      open += word.weight;
    }
  }
  if (in_it + in_others == 0) in_it = open;
  if (in_it + in_others == 0) return std::nullopt;
  return in_it / (in_it + in_others);
}

}  // namespace troupe
