#include "actors/engine_options.h"

#include <doctest/doctest.h>

using namespace troupe;

TEST_SUITE("actors/engine_options") {
  TEST_CASE("an actor's GPUs lie behind those of the learners and of the actors before it") {
    CHECK(first_gpu(0, std::nullopt, 4, 1) == 4);
    CHECK(first_gpu(3, std::nullopt, 4, 1) == 7);
    CHECK(first_gpu(0, std::nullopt, 4, 2) == 4);
    CHECK(first_gpu(1, std::nullopt, 4, 2) == 6);
    CHECK(first_gpu(1, std::nullopt, 0, 4) == 4);
  }

  TEST_CASE("of one job with the learners the place on the host counts, not the index") {
    CHECK(first_gpu(9, 5, 4, 1) == 5);
    CHECK(first_gpu(9, 5, 4, 2) == 6);
    CHECK(first_gpu(9, 4, 4, 2) == 4);
    CHECK(first_gpu(9, 1, 0, 4) == 4);
    CHECK(first_gpu(9, 1, 4, 2) == 1);  // beside other learners than those counted
  }

  TEST_CASE("how many ranks hold an actor's model is the run's to say") {
    Config local, run;
    local.actors.tensor_parallel = 4;
    run.actors.tensor_parallel = 2;
    const Tokenizer tokenizer = Tokenizer::from_json(character_tokenizer_json(), "characters");
    CHECK(engine_options(local, run, tokenizer, at::kCPU).tensor_parallel == 2);
  }
}
