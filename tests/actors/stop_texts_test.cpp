#include "actors/stop_texts.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "actors/completion_text.h"

namespace troupe {
namespace {

Tokenizer byte_level() { return Tokenizer::load(std::string(TROUPE_TEST_DATA) + "/data/byte-level"); }

/// How many tokens of `text` it takes until one of the texts is found; -1 where none is.
int found_after(const Tokenizer& tokenizer, const std::string& text, const std::vector<std::string>& texts) {
  StopTexts stop(texts, tokenizer);
  int count = 0;
  for (const std::int32_t id : tokenizer.encode(text, false)) {
    ++count;
    if (stop.push(id)) return count;
  }
  return -1;
}

Completion completion_of(const Tokenizer& tokenizer, const std::string& text, FinishReason reason) {
  Completion completion;
  completion.token_ids = tokenizer.encode(text, false);
  completion.finish_reason = reason;
  return completion;
}

TEST_SUITE("actors/stop_texts") {
  TEST_CASE("a text is found with the token that completes it, wherever the tokens' borders are") {
    const Tokenizer tokenizer = byte_level();
    for (const std::string stop : {"</answer>", "end", "\n\n", "é", "😀!"}) {
      for (const std::string before : {"", "a", "some words, then ", "日本 "}) {
        CAPTURE(stop);
        CAPTURE(before);
        const std::string text = before + stop + " and more";
        const int tokens = found_after(tokenizer, text, {"never", stop});

        REQUIRE(tokens > 0);
        std::vector<std::int32_t> ids = tokenizer.encode(text, false);
        ids.resize(static_cast<std::size_t>(tokens));
        CHECK(tokenizer.decode(ids, true).find(stop) != std::string::npos);
        ids.pop_back();
        CHECK(tokenizer.decode(ids, true).find(stop) == std::string::npos);
        CHECK(found_after(tokenizer, before + "</answe r> e nd", {stop}) == -1);
      }
    }
  }

  TEST_CASE("a text that was complete before does not count again") {
    const Tokenizer tokenizer = byte_level();
    const std::vector<std::string> texts = {"x", "a long one to stop at"};
    StopTexts stop(texts, tokenizer);
    std::vector<bool> found;
    for (const std::int32_t id : tokenizer.encode("Zx - Z", false)) found.push_back(stop.push(id));
    CHECK(std::ranges::count(found, true) == 1);
    CHECK(find_stop_text("xx", {"x"}, 1) == 1);
    CHECK(find_stop_text("xx", {"x"}, 2) == 2);
    CHECK(find_stop_text("abc", {"bc"}, 2) == 1);
    CHECK(find_stop_text("abc", {"bc"}, 3) == 3);
  }

  TEST_CASE("what stands before min_tokens is no stop text, unless it goes on behind") {
    const Tokenizer tokenizer = byte_level();
    SamplingParams sampling;
    sampling.stop_texts = {"END", "stop"};
    const Completion completion = completion_of(tokenizer, "a stop, a stop, END", FinishReason::kStop);
    sampling.min_tokens = static_cast<std::int32_t>(tokenizer.encode("a stop,", false).size());
    CHECK(completion_text(completion, sampling, tokenizer) == "a stop, a ");
    sampling.min_tokens = static_cast<std::int32_t>(tokenizer.encode("a stop, a stop,", false).size());
    CHECK(completion_text(completion, sampling, tokenizer) == "a stop, a stop, ");
    sampling.min_tokens = 1;
    CHECK(completion_text(completion, sampling, tokenizer) == "a ");
  }

  TEST_CASE("the text ends where the first of the texts begins; a completion that was cut by its length is whole") {
    const Tokenizer tokenizer = byte_level();
    SamplingParams sampling;
    sampling.stop_texts = {"END", "stop"};
    CHECK(completion_text(completion_of(tokenizer, "go on stop END", FinishReason::kStop), sampling, tokenizer) == "go on ");
    CHECK(completion_text(completion_of(tokenizer, "go on", FinishReason::kLength), sampling, tokenizer) == "go on");
    Completion stopped = completion_of(tokenizer, "go onx", FinishReason::kStop);
    sampling.stop_ids = {stopped.token_ids.back()};
    const std::string text = completion_text(stopped, sampling, tokenizer);
    CHECK(text.size() < 6);
    CHECK(std::string("go onx").starts_with(text));
  }
}

}  // namespace
}  // namespace troupe
