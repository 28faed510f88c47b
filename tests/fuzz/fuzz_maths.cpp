#include "rewarders/answer.h"
#include "rewarders/maths/equivalence.h"
#include "rewarders/maths/extraction.h"
#include "tests/fuzz/fuzzing.h"

/// The first line is the gold, the rest the completion. An answer that can be compared at all equals itself after the same extraction.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace troupe;
  const std::string_view text = fuzzing::text_of(data, size);
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string gold = gold_answer(text.substr(0, end));
  const std::string_view completion = text.substr(std::min(end + 1, text.size()));
  for (const std::string& source : answer_sources()) {
    const auto answer = final_answer(completion, {source});
    if (!answer) continue;
    const bool same = same_answer(*answer, gold);
    check(same == same_answer(*answer, gold), "the same pair is judged alike");
  }
  same_answer(completion, gold, {.ordered_lists = true});
  parse_number(completion);
  evaluate_arithmetic(completion, nullptr);
  return 0;
}
