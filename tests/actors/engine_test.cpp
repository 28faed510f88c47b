#include "actors/engine.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/model/token_logprobs.h"
#include "tests/actors/engine_testing.h"
#include "tests/common/model/model_testing.h"

namespace troupe {
namespace {

/// Prompts of many lengths; every way to draw.
std::vector<Request> mixed_requests() {
  std::vector<Request> requests;
  for (std::uint64_t id = 1; id <= 7; ++id) requests.push_back(request(id, 1 + (id * id) % 23, 4, 14));
  requests[1].sampling.temperature = 0;
  requests[2].sampling.temperature = 0.7;
  requests[3].sampling.top_k = 5;
  requests[4].sampling.top_p = 0.8;
  requests[5].sampling.min_p = 0.1;
  requests[6].samples = 1;
  return requests;
}

/// The completion's log-probabilities as the trainer computes them: a packed forward over prompt and completion.
std::vector<float> trainer_logprobs(const Parameters& parameters, const Request& r, const Completion& completion) {
  std::vector<std::int64_t> ids(r.prompt_ids.begin(), r.prompt_ids.end());
  ids.insert(ids.end(), completion.token_ids.begin(), completion.token_ids.end());
  const auto prompt = static_cast<std::int64_t>(r.prompt_ids.size());
  const auto tokens = static_cast<std::int64_t>(completion.token_ids.size());

  // Another sequence in front: the pack's composition does not matter either.
  PackedSequences batch = testing::sequences_of({5}, parameters.architecture().vocabulary);
  batch.ids_T = at::cat({batch.ids_T, at::tensor(ids, at::kLong)});
  batch.sequence_starts.push_back(5 + prompt + tokens);
  const Transformer model(parameters);
  const at::Tensor hidden = model.forward(batch, nullptr).narrow(0, 5 + prompt - 1, tokens).contiguous();
  const at::Tensor targets = batch.ids_T.narrow(0, 5 + prompt, tokens).contiguous();
  const at::Tensor logp = token_logprobs(hidden, model.head_VH(), targets, r.sampling.temperature).logp_N;
  return {logp.const_data_ptr<float>(), logp.const_data_ptr<float>() + tokens};
}

/// ATen's number of threads while it lives. One is fastest for a model this small.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

TEST_SUITE("actors/engine") {
  TEST_CASE("a completion's bits depend neither on slots nor chunks nor company nor order") {
    const Threads one(1);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Parameters parameters = testing::random_parameters(testing::small_architecture(), dtype);
      std::vector<Request> requests = mixed_requests();
      const Completions alone = generate(parameters, requests, options(1));
      REQUIRE(alone.size() == requests.size());

      CHECK((generate(parameters, requests, options(3, 7)) == alone));
      CHECK((generate(parameters, requests, options(64)) == alone));
      std::reverse(requests.begin(), requests.end());
      std::swap(requests[1], requests[4]);
      CHECK((generate(parameters, requests, options(64, 1)) == alone));
      CHECK((generate(parameters, requests, options(3)) == alone));
      CHECK((generate(parameters, {requests[2]}, options(5)).at(requests[2].id) == alone.at(requests[2].id)));
    }
  }

  TEST_CASE("a completion's bits do not depend on the memory for keys and values, nor on having been put off for want of it") {
    const Threads one(1);
    const Architecture architecture = testing::small_architecture();
    const Parameters parameters = testing::random_parameters(architecture, at::kFloat);
    std::vector<Request> requests;
    for (std::uint64_t id = 1; id <= 4; ++id) {
      requests.push_back(request(id, 20 + 15 * id, 3, 150));
      requests.back().sampling.stop_ids.clear();
    }
    const Completions roomy = generate(parameters, requests, options(64));

    EngineOptions tight = options(64);
    const std::int64_t page_bytes = KvCache::page_bytes(architecture, at::kFloat);
    tight.kv_memory_gib = static_cast<double>(8 * page_bytes) / (1024.0 * 1024.0 * 1024.0);
    Engine engine(parameters, 1, tight);
    for (const Request& r : requests) engine.submit(r);
    Completions completions;
    run(engine, completions);

    CHECK((completions == roomy));
    CHECK(engine.stats().preemptions > 0);
    tight.kv_memory_gib /= 2;  // a sequence of 256 positions can take 5 pages
    CHECK_THROWS_WITH_AS(Engine(parameters, 1, tight), doctest::Contains("expected at least"), ConfigError);
  }

  TEST_CASE("a completion's bits do not depend on the threads") {
    const Parameters parameters = testing::random_parameters(testing::small_architecture(), at::kFloat);
    const auto with_threads = [&](int count) {
      const Threads threads(count);
      return generate(parameters, mixed_requests(), options(16));
    };

    const Completions one = with_threads(1);
    const Completions two = with_threads(2);

    CHECK((one == two));
  }

  TEST_CASE("the samples of a group differ, and so do groups and seeds") {
    const Parameters parameters = testing::random_parameters(testing::small_architecture(), at::kFloat);
    Request a = request(1, 6, 2, 14);
    Request other_group = a;
    other_group.id = 2;
    other_group.group += 1;
    Request other_seed = a;
    other_seed.id = 3;
    other_seed.seed += 1;

    const Completions completions = generate(parameters, {a, other_group, other_seed}, options(8));

    CHECK(completions.at(1)[0].token_ids != completions.at(1)[1].token_ids);
    CHECK(completions.at(1)[0].token_ids != completions.at(2)[0].token_ids);
    CHECK(completions.at(1)[0].token_ids != completions.at(3)[0].token_ids);
  }

  TEST_CASE("samples from a number on are those that the whole group draws") {
    const Threads one(1);
    const Parameters parameters = testing::random_parameters(testing::small_architecture(), at::kFloat);
    Request later = request(5, 9, 2, 14);
    later.first_sample = 3;
    const Completions all = generate(parameters, {request(5, 9, 5, 14)}, options(2));
    const Completions part = generate(parameters, {later}, options(2));

    const std::vector<Completion> expected(all.at(5).begin() + 3, all.at(5).end());
    CHECK((part.at(5) == expected));
    CHECK(part.at(5).front().sample == 3);
  }

  TEST_CASE("log-probabilities have the bits of the trainer's packed forward") {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Parameters parameters = testing::random_parameters(testing::small_architecture(), dtype);
      std::vector<Request> requests = {request(1, 1, 3, 20), request(2, 33, 3, 20), request(3, 16, 2, 5)};
      requests[1].sampling.temperature = 0.8;

      const Completions completions = generate(parameters, requests, options(4, 10));

      for (const Request& r : requests) {
        for (const Completion& completion : completions.at(r.id)) {
          CHECK(completion.logprobs == trainer_logprobs(parameters, r, completion));
        }
      }
    }
  }

  TEST_CASE("greedy completions are the argmax of the trainer's distribution, at temperature 1") {
    const Parameters parameters = testing::random_parameters(testing::small_architecture(), at::kFloat);
    Request greedy = request(1, 9, 1, 12);
    greedy.sampling.temperature = 0;

    const Completion completion = generate(parameters, {greedy}, options(2)).at(1)[0];

    greedy.sampling.temperature = 1;
    CHECK(completion.logprobs == trainer_logprobs(parameters, greedy, completion));
    for (std::size_t i = 0; i < completion.token_ids.size(); ++i) {
      Completion other = completion;
      other.token_ids[i] = (completion.token_ids[i] + 1) % 104;
      CHECK(trainer_logprobs(parameters, greedy, other)[i] < completion.logprobs[i]);
    }
  }

  TEST_CASE("with recompute each token has the log-probability of one forward of its own version") {
    const Parameters old_weights = testing::random_parameters(testing::small_architecture(), at::kFloat, 5);
    const Parameters new_weights = testing::random_parameters(testing::small_architecture(), at::kFloat, 6);
    Request r = request(1, 12, 3, 16);
    r.sampling.stop_ids.clear();
    Engine engine(old_weights, 7, options(2, 5));
    engine.submit(r);
    for (int i = 0; i < 9; ++i) (void)engine.step();
    engine.set_weights(new_weights, 8);
    CHECK(engine.version() == 8);

    Completions completions;
    run(engine, completions);

    int mixed = 0;
    for (const Completion& completion : completions.at(1)) {
      const std::vector<float> under_old = trainer_logprobs(old_weights, r, completion);
      const std::vector<float> under_new = trainer_logprobs(new_weights, r, completion);
      for (std::size_t i = 0; i < completion.versions.size(); ++i) {
        CHECK(completion.logprobs[i] == (completion.versions[i] == 7 ? under_old[i] : under_new[i]));
      }
      if (completion.versions.front() == 7 && completion.versions.back() == 8) ++mixed;
    }
    CHECK(mixed == 2);
  }

  TEST_CASE("with keep sequences go on with their caches") {
    Engine engine(testing::random_parameters(testing::small_architecture(), at::kFloat, 5), 7, [] {
      EngineOptions keep = options(2);
      keep.on_new_weights = OnNewWeights::kKeep;
      return keep;
    }());
    Request r = request(1, 12, 2, 10);
    r.sampling.stop_ids.clear();
    engine.submit(r);
    for (int i = 0; i < 4; ++i) (void)engine.step();
    const std::uint64_t prefilled = engine.stats().prefill_rows;
    engine.set_weights(testing::random_parameters(testing::small_architecture(), at::kFloat, 6), 8);

    Completions completions;
    run(engine, completions);

    CHECK(engine.stats().prefill_rows == prefilled);
    CHECK(completions.at(1)[0].versions == std::vector<std::uint64_t>{7, 7, 7, 7, 8, 8, 8, 8, 8, 8});
  }

  TEST_CASE("with finish running sequences end under the old weights and the next ones start under the new") {
    const Parameters new_weights = testing::random_parameters(testing::small_architecture(), at::kFloat, 6);
    EngineOptions finish = options(2);
    finish.on_new_weights = OnNewWeights::kFinish;
    Engine engine(testing::random_parameters(testing::small_architecture(), at::kFloat, 5), 7, finish);
    Request r = request(1, 12, 3, 6);
    r.sampling.stop_ids.clear();
    engine.submit(r);
    for (int i = 0; i < 3; ++i) (void)engine.step();
    engine.set_weights(new_weights, 8);
    CHECK(engine.version() == 7);

    Completions completions;
    run(engine, completions);

    CHECK(engine.version() == 8);
    CHECK(completions.at(1)[0].versions == std::vector<std::uint64_t>(6, 7));
    CHECK(completions.at(1)[1].versions == std::vector<std::uint64_t>(6, 7));
    CHECK(completions.at(1)[2].versions == std::vector<std::uint64_t>(6, 8));
    CHECK(completions.at(1)[2].logprobs == trainer_logprobs(new_weights, r, completions.at(1)[2]));
  }

  TEST_CASE("a cancelled request changes nothing in the others") {
    const Parameters parameters = testing::random_parameters(testing::small_architecture(), at::kFloat);
    const std::vector<Request> requests = mixed_requests();
    Completions expected = generate(parameters, requests, options(6));
    Engine engine(parameters, 1, options(6));
    for (const Request& r : requests) engine.submit(r);
    for (int i = 0; i < 5; ++i) (void)engine.step();

    CHECK(engine.cancel(requests[0].id));
    CHECK(engine.cancel(requests[4].id));

    Completions completions;
    run(engine, completions);
    expected.erase(requests[0].id);
    expected.erase(requests[4].id);
    CHECK((completions == expected));
  }

  TEST_CASE("weights that compute NaN are an error that names group, sample, position and version") {
    Parameters parameters = testing::random_parameters(testing::small_architecture(), at::kFloat);
    parameters.flat().fill_(std::numeric_limits<float>::quiet_NaN());
    Engine engine(parameters, 9, options(2));
    engine.submit(request(1, 1, 1, 4));

    CHECK_THROWS_WITH_AS((void)engine.step(), doctest::Contains("group 1001, sample 0, position 0, policy version 9"),
                         DeviceError);
  }

  TEST_CASE("a sequence longer than the slots' room is refused") {
    EngineOptions narrow = options(2);
    narrow.max_tokens = 30;
    Engine engine(testing::random_parameters(testing::small_architecture(), at::kFloat), 1, narrow);

    CHECK_THROWS_WITH_AS(engine.submit(request(1, 20, 1, 11)), doctest::Contains("max_tokens is 11"), ConfigError);
    CHECK_NOTHROW(engine.submit(request(1, 20, 1, 10)));
    narrow.max_tokens = 1000;
    Engine wide(testing::random_parameters(testing::small_architecture(), at::kFloat), 1, narrow);
    CHECK_THROWS_AS(wide.submit(request(1, 200, 1, 57)), ConfigError);
  }

  TEST_CASE("the work is counted") {
    Engine engine(testing::random_parameters(testing::small_architecture(), at::kFloat), 1, options(4));
    Request r = request(1, 10, 4, 5);
    r.sampling.stop_ids.clear();
    engine.submit(r);

    Completions completions;
    run(engine, completions);

    CHECK(engine.stats().drawn_tokens == 20);
    CHECK(engine.stats().prefill_rows == 9);
    CHECK(engine.stats().forwards == 5);  // the prompt, and each sample's first token, in the first one
  }

  TEST_CASE("names of what becomes of running sequences") {
    CHECK(on_new_weights_named("recompute") == OnNewWeights::kRecompute);
    CHECK(on_new_weights_named("keep") == OnNewWeights::kKeep);
    CHECK(on_new_weights_named("finish") == OnNewWeights::kFinish);
    CHECK_THROWS_WITH_AS((void)on_new_weights_named("drop"), doctest::Contains("actors.on_new_weights = drop"),
                         ConfigError);
  }
}

}  // namespace
}  // namespace troupe
