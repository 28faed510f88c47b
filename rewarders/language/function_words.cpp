#include "rewarders/language/function_words.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <unordered_map>

namespace troupe {
namespace {

struct Row {
  std::string_view language;
  std::string_view words;    // separated by spaces
  std::string_view letters;  // that no other language here has
};

// The commonest words of each, from grammar books' closed classes; words of two languages vote for both.
constexpr std::array<Row, 12> kRows = {{
    {"en",
     "the of and to in is was that it for on are as with his they at be this from have or by one had not but what all were we when your can said there "
     "an each which she do how their if will up other about out many then them these so some her would make like him has two more no could my than first "
     "been its who now did get let us me you he how much does after because if into only over need i'm it's let's find so answer step next wait just also "
     "four five six three number total",
     ""},
    {"de",
     "der die das und ist nicht ein eine einen einem einer zu den von mit dem des auf für im sich auch es an werden aus er hat dass sie nach wird bei noch wie "
     "über so zum war haben nur oder aber vor zur bis mehr durch wenn kann dann wir ich uns man viele wieviel jeder jede jeden pro sind um als also ihr "
     "ihre sein seine was wer viel zuerst drei vier zwei muss müssen gibt",
     "ß"},
    {"fr",
     "le la les de des du un une et est en que qui dans pour pas sur au aux par plus ne se ce cette il elle on nous vous ils elles avec son sa ses leur "
     "sont mais ou où si tout comme a été fait peut combien chaque donc alors d'abord quand après était ont lui je tu mon ma mes puis deux trois quatre "
     "faut",
     "œ"},
    {"es",
     "el la los las de del un una y es en que por para con no se al lo su sus como más pero le ha o este esta si ya entre cuando todo ser son dos también fue "
     "había era muy años hasta desde está porque cada cuánto cuántos cuántas cuánta ella él ellos después entonces primero luego tiene sobre tres cuatro",
     "ñ¿¡"},
    {"pt",
     "o a os as de do da dos das um uma e é em no na nos nas que por para com não se ao como mais mas foi ele ela eles são seu sua seus suas ou quando muito "
     "já também só pelo pela até isso entre depois sem mesmo quantos quantas quanto cada então primeiro você tem está dois duas três quatro ser",
     "ãõ"},
    {"it",
     "il lo la i gli le di del della dei delle un uno una e è in che per con non si al alla come più ma da dal dalla sono ha ho anche se nel nella questo "
     "questa quando dopo molto quanti quante quanto ogni poi prima quindi perché lui lei loro suo sua due tre quattro essere sul sulla ci ne",
     ""},
    {"nl",
     "de het een en van is in dat op te zijn met voor niet aan er om ook als maar bij nog uit door over naar dan wat hij ze zij we wij je dit die hoeveel elk "
     "elke per hoe veel heeft had worden werd wordt kan eerst dus omdat hebben haar hun twee drie vier wel geen moet moeten was",
     ""},
    {"sw",
     "ya na wa kwa ni la katika za kila yake ana wake cha hii alikuwa ambayo wao au kama ngapi watu siku kuwa hiyo yeye lakini baada kabla mbili tatu nne moja "
     "ikiwa jumla anahitaji tunahitaji kwanza kisha je gani hivyo pia bado sasa yao zake hizo hilo vya mwa",
     ""},
    {"ru",
     "и в не на что он с как по это она но из у за от так о же к для его её все был была было быть если то мы они или когда сколько каждый каждая каждое после "
     "до где чтобы уже только нам нужно сначала затем потом два три четыре который которые есть",
     "ыэё"},
    {"uk",
     "і в не на що він з як по це вона але із у за від так для його її все був була було бути якщо то ми вони або коли скільки кожен кожна після до де щоб уже "
     "тільки нам потрібно спочатку потім два три чотири який які є та й",
     "іїєґ"},
    {"bg",
     "и в не на че той с как по това тя но от за да се са съм е към му им ни ако или когато колко всеки всяка след до къде вече само трябва първо после два три "
     "четири който които има беше бил която",
     "ъ"},
    {"sr",
     "и у не на да он са као по то она али из за од се су је ће ако или када колико сваки свака после до где већ само треба прво затим два три четири који "
     "која има било био",
     "јљњћђџ"},
}};

using Masks = std::unordered_map<std::string_view, std::uint32_t>;

const Masks& masks() {
  static const Masks kMasks = [] {
    Masks all;
    for (std::size_t i = 0; i < kRows.size(); ++i) {
      for (std::string_view rest = kRows[i].words; !rest.empty();) {
        const std::size_t end = std::min(rest.find(' '), rest.size());
        all[rest.substr(0, end)] |= 1U << i;
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
    }
    return all;
  }();
  return kMasks;
}

/// Whether a word has one of these letters, each of two bytes.
bool has_letter(std::string_view word, std::string_view letters) {
  for (std::size_t i = 0; i + 1 < letters.size(); i += 2) {
    if (word.find(letters.substr(i, 2)) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

bool has_function_words(const std::string& language) {
  return std::any_of(kRows.begin(), kRows.end(), [&](const Row& row) { return row.language == language; });
}

bool is_function_word(std::string_view word, const std::string& language) {
  const auto found = masks().find(word);
  for (std::size_t i = 0; found != masks().end() && i < kRows.size(); ++i) {
    if (kRows[i].language == language && (found->second >> i & 1U) != 0) return true;
  }
  return false;
}

FunctionWordVote function_word_vote(std::span<const std::string> words) {
  std::array<int, kRows.size()> votes{};
  for (const std::string& word : words) {
    const auto found = masks().find(word);
    for (std::size_t i = 0; i < kRows.size(); ++i) {
      if (found != masks().end() && (found->second >> i & 1U) != 0) ++votes[i];
      if (has_letter(word, kRows[i].letters)) votes[i] += 2;
    }
  }
  const auto best = std::max_element(votes.begin(), votes.end());
  FunctionWordVote vote{"", *best, 0};
  for (auto each = votes.begin(); each != votes.end(); ++each) {
    if (each != best) vote.next = std::max(vote.next, *each);
  }
  if (vote.votes > vote.next) vote.language = kRows[static_cast<std::size_t>(best - votes.begin())].language;
  return vote;
}

}  // namespace troupe
