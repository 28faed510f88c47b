#include <ATen/ATen.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "actors/engine.h"
#include "common/base/error.h"
#include "tests/actors/engine_testing.h"
#include "tests/common/model/model_testing.h"

namespace troupe {

TEST_SUITE("actors/engine_stop") {
  TEST_CASE("stop tokens are kept back, and stop texts do not count, before min_tokens") {
    const Parameters parameters = testing::random_parameters(testing::small_architecture(), at::kFloat);
    Request free = request(1, 6, 8, 40);
    free.sampling.stop_ids = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    Request held = free;
    held.id = 2;
    held.sampling.min_tokens = 25;

    const Completions completions = generate(parameters, {free, held}, options(16));

    const auto shortest = [&](std::uint64_t id) {
      std::size_t fewest = 1000;
      for (const Completion& completion : completions.at(id)) fewest = std::min(fewest, completion.token_ids.size());
      return fewest;
    };
    CHECK(shortest(1) < 25);
    CHECK(shortest(2) > 25);
    for (const Completion& completion : completions.at(2)) {
      for (std::size_t i = 0; i < 25; ++i) CHECK(std::ranges::find(held.sampling.stop_ids, completion.token_ids[i]) == held.sampling.stop_ids.end());
    }
  }

  TEST_CASE("a stop text ends a completion with its last token; without a tokenizer it is refused") {
    const Tokenizer tokenizer = Tokenizer::load(std::string(TROUPE_TEST_DATA) + "/data/byte-level");
    Architecture architecture = testing::small_architecture();
    architecture.vocabulary = tokenizer.vocabulary_size();
    const Parameters parameters = testing::random_parameters(architecture, at::kFloat);
    Request r = request(1, 6, 6, 60);
    r.sampling.stop_ids.clear();
    r.sampling.stop_texts = {"e", "\xC3"};
    EngineOptions with_texts = options(4);
    CHECK_THROWS_WITH_AS(Engine(parameters, 1, with_texts).submit(r), doctest::Contains("stop_texts"), ConfigError);
    with_texts.tokenizer = &tokenizer;

    const Completions completions = generate(parameters, {r}, with_texts);

    int stopped = 0;
    for (const Completion& completion : completions.at(1)) {
      std::vector<std::int32_t> ids = completion.token_ids;
      const bool found = tokenizer.decode(ids, true).find('e') != std::string::npos;
      CHECK(found == (completion.finish_reason == FinishReason::kStop));
      ids.pop_back();
      CHECK(tokenizer.decode(ids, true).find('e') == std::string::npos);
      stopped += found ? 1 : 0;
    }
    CHECK(stopped > 0);
  }
}

}  // namespace troupe
