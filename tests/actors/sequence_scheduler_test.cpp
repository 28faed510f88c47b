#include "actors/sequence_scheduler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "common/base/error.h"

namespace troupe {
namespace {

constexpr std::int32_t kStop = 99;

SequenceSchedulerOptions options(std::int64_t slots, std::int64_t prefill_tokens = 512) {
  SequenceSchedulerOptions result;
  result.slots = slots;
  result.max_tokens = 64;
  result.pages = 2 * slots;
  result.vocabulary = 100;
  result.prefill_tokens = prefill_tokens;
  return result;
}

Request request(std::uint64_t id, std::vector<std::int32_t> prompt, std::uint32_t samples, std::int32_t max_tokens) {
  Request result;
  result.id = id;
  result.prompt_ids = std::move(prompt);
  result.samples = samples;
  result.sampling.max_tokens = max_tokens;
  result.sampling.stop_ids = {kStop};
  result.seed = 7;
  result.group = id;
  return result;
}

/// Stands in for model and cache: knows which token lies at each place of each page, and fails where a row attends to
/// something else than its own sequence.
class FakeEngine {
 public:
  explicit FakeEngine(const SequenceSchedulerOptions& scheduler_options) : scheduler(scheduler_options) {}

  /// What the model would draw: the stop token at the sample's length, if it has one, else a number made of the place.
  std::int32_t token(const DrawPlace& place) const {
    const auto length = lengths.find({place.group, place.sample});
    if (length != lengths.end() && place.position + 1 == length->second) return kStop;
    return static_cast<std::int32_t>((place.group * 31 + place.sample * 7 + place.position) % 90);
  }

  std::int64_t& place_in(std::span<const std::int32_t> table, std::int64_t position) {
    auto& page = pages[table[static_cast<std::size_t>(position / kPageTokens)]];
    page.resize(kPageTokens, -1);
    return page[static_cast<std::size_t>(position % kPageTokens)];
  }

  /// What the last token of a run attends to.
  std::vector<std::int64_t> seen_by(const CachedRun& run) {
    std::vector<std::int64_t> tokens;
    for (std::int64_t i = 0; i < run.shared_tokens; ++i) tokens.push_back(place_in(run.shared_pages, i));
    for (std::int64_t i = run.shared_tokens; i < run.first_position + run.tokens; ++i) {
      tokens.push_back(place_in(run.pages, i - run.shared_tokens));
    }
    return tokens;
  }

  std::vector<FinishedRequest> step() {
    const ForwardPlan& plan = scheduler.plan();
    std::size_t row = 0;
    std::map<std::int64_t, const CachedRun*> run_of_last_row;
    for (const CachedRun& run : plan.runs) {
      for (std::int64_t i = 0; i < run.tokens; ++i) {
        place_in(run.pages, run.first_position - run.shared_tokens + i) = plan.ids[row++];
      }
      run_of_last_row[static_cast<std::int64_t>(row) - 1] = &run;
    }
    REQUIRE(row == plan.ids.size());
    rows += plan.ids.size();
    prefill_rows.push_back(plan.ids.size() - plan.draws.size());
    std::vector<DrawnToken> drawn;
    for (std::size_t i = 0; i < plan.draws.size(); ++i) {
      const DrawPlace place = scheduler.place_of(i);
      CHECK(seen_by(*run_of_last_row.at(plan.draws[i])) == expected(place));
      drawn.push_back({token(place), -1.0F});
    }
    most_active = std::max(most_active, scheduler.active());
    return scheduler.record(drawn, version);
  }

  std::vector<FinishedRequest> run() {
    std::vector<FinishedRequest> all;
    for (int i = 0; i < 20000 && !scheduler.idle(); ++i) {
      for (FinishedRequest& finished : step()) all.push_back(std::move(finished));
    }
    CHECK(scheduler.idle());
    return all;
  }

  void submit(Request r) {
    prompts[r.group] = r.prompt_ids;
    scheduler.submit(std::move(r));
  }

  /// Prompt and completion so far: what a row must attend to when the token of `place` is drawn.
  std::vector<std::int64_t> expected(const DrawPlace& place) const {
    std::vector<std::int64_t> tokens(prompts.at(place.group).begin(), prompts.at(place.group).end());
    DrawPlace before = place;
    for (before.position = 0; before.position < place.position; ++before.position) tokens.push_back(token(before));
    return tokens;
  }

  SequenceScheduler scheduler;
  std::map<std::uint64_t, std::vector<std::int32_t>> prompts;
  std::map<std::pair<std::uint64_t, std::uint32_t>, std::uint32_t> lengths;
  std::map<std::int32_t, std::vector<std::int64_t>> pages;
  std::vector<std::size_t> prefill_rows;
  std::size_t rows = 0;
  std::int64_t most_active = 0;
  std::uint64_t version = 1;
};

std::uint32_t length_of(std::uint64_t id, std::uint32_t sample) {
  return 1 + (static_cast<std::uint32_t>(id) * 5 + sample * 3) % 7;
}

TEST_SUITE("actors/sequence_scheduler") {
  TEST_CASE("a group's prompt is computed once, whatever the number of slots") {
    for (const std::int64_t slots : {1, 2, 3, 8, 64}) {
      CAPTURE(slots);
      FakeEngine engine(options(slots));
      engine.submit(request(1, {5, 6, 7, 8, 9}, 6, 3));

      const std::vector<FinishedRequest> finished = engine.run();

      REQUIRE(finished.size() == 1);
      CHECK(finished[0].id == 1);
      // Four prompt tokens once; then each of 6 samples feeds the last prompt token and its first two of three tokens.
      CHECK(engine.rows == 4 + 6 * 3);
      CHECK(engine.most_active == std::min<std::int64_t>(slots, 6));
      CHECK(engine.pages.size() == 1 + static_cast<std::size_t>(engine.most_active));  // the prompt is held once
    }
  }

  TEST_CASE("completions come back in sample order with their tokens, versions and finish reasons") {
    FakeEngine engine(options(2));
    engine.lengths = {{{4, 0}, 3}, {{4, 1}, 1}};
    engine.submit(request(4, {1}, 3, 4));

    const std::vector<FinishedRequest> finished = engine.run();

    REQUIRE(finished.size() == 1);
    const std::vector<Completion>& completions = finished[0].completions;
    REQUIRE(completions.size() == 3);
    const std::int32_t first = 4 * 31 % 90;
    CHECK(completions[0].token_ids == std::vector<std::int32_t>{first, first + 1, kStop});
    CHECK(completions[0].finish_reason == FinishReason::kStop);
    CHECK(completions[1].token_ids == std::vector<std::int32_t>{kStop});
    CHECK(completions[2].token_ids == std::vector<std::int32_t>{first + 14, first + 15, first + 16, first + 17});
    CHECK(completions[2].finish_reason == FinishReason::kLength);
    for (std::uint32_t sample = 0; sample < 3; ++sample) {
      const Completion& completion = completions[sample];
      CHECK(completion.sample == sample);
      CHECK(completion.logprobs == std::vector<float>(completion.token_ids.size(), -1.0F));
      CHECK(completion.versions == std::vector<std::uint64_t>(completion.token_ids.size(), 1));
    }
  }

  TEST_CASE("slots are refilled in flight, and every sequence sees its own tokens") {
    for (const std::int64_t slots : {1, 2, 3, 5, 16}) {
      for (const std::int64_t prefill : {1, 3, 512}) {
        CAPTURE(slots);
        CAPTURE(prefill);
        FakeEngine engine(options(slots, prefill));
        std::set<std::uint64_t> ids;
        for (std::uint64_t id = 1; id <= 6; ++id) {
          std::vector<std::int32_t> prompt(id, static_cast<std::int32_t>(id));
          for (std::uint32_t sample = 0; sample < 4; ++sample) engine.lengths[{id, sample}] = length_of(id, sample);
          engine.submit(request(id, prompt, 4, 9));
          ids.insert(id);
        }

        for (const FinishedRequest& finished : engine.run()) {
          CHECK(ids.erase(finished.id) == 1);
          for (std::uint32_t sample = 0; sample < 4; ++sample) {
            CHECK(finished.completions[sample].token_ids.size() == length_of(finished.id, sample));
          }
        }
        CHECK(ids.empty());
        CHECK(engine.most_active == std::min<std::int64_t>(slots, 24));
        CHECK(*std::ranges::max_element(engine.prefill_rows) <= static_cast<std::size_t>(prefill));
      }
    }
  }

  TEST_CASE("a long prompt does not hold up sequences that run") {
    FakeEngine engine(options(2, 4));
    engine.submit(request(1, {1}, 1, 12));
    (void)engine.step();
    engine.submit(request(2, std::vector<std::int32_t>(60, 2), 1, 2));
    int steps = 1;
    for (bool first_done = false; !first_done && steps < 100; ++steps) {
      for (const FinishedRequest& finished : engine.step()) first_done = first_done || finished.id == 1;
    }

    CHECK(steps == 12);
    CHECK(engine.scheduler.requests() == 1);
    (void)engine.run();
  }

  TEST_CASE("after new weights every running sequence is computed again, a group's prompt once") {
    FakeEngine engine(options(4));
    engine.submit(request(1, {5, 6, 7, 8, 9}, 3, 6));
    for (int i = 0; i < 4; ++i) (void)engine.step();
    engine.scheduler.forget_caches();
    engine.pages.clear();  // nothing of the old caches may be used
    engine.version = 2;
    const std::size_t before = engine.rows;

    const std::vector<FinishedRequest> finished = engine.run();

    // Prompt without its last token; from there each sample's 4 tokens so far; 2 to come, of which the last is not fed.
    CHECK(engine.rows - before == 4 + 3 * 4 + 3 * 2);
    REQUIRE(finished.size() == 1);
    CHECK(finished[0].completions[0].versions == std::vector<std::uint64_t>{1, 1, 1, 1, 2, 2});
    CHECK(finished[0].completions[2].versions == std::vector<std::uint64_t>{1, 1, 1, 1, 2, 2});
  }

  TEST_CASE("where pages run out the last to start waits, and nothing is drawn from a wrong or missing token") {
    for (const std::int64_t pages : {4, 5, 7, 12, 30}) {
      for (const std::int64_t prefill : {16, 512}) {
        CAPTURE(pages);
        CAPTURE(prefill);
        SequenceSchedulerOptions tight = options(8, prefill);
        tight.max_tokens = 230;
        tight.pages = pages;
        FakeEngine engine(tight);
        std::size_t drawn = 0;
        for (std::uint64_t id = 1; id <= 5; ++id) {
          for (std::uint32_t sample = 0; sample < 3; ++sample) {
            engine.lengths[{id, sample}] = 20 + static_cast<std::uint32_t>((id * 37 + sample * 53) % 100);
            drawn += engine.lengths[{id, sample}];
          }
          engine.submit(request(id, std::vector<std::int32_t>(60 + id * 9, static_cast<std::int32_t>(id)), 3, 120));
        }

        const std::vector<FinishedRequest> finished = engine.run();

        CHECK(finished.size() == 5);
        std::size_t tokens = 0;
        for (const FinishedRequest& each : finished) {
          for (const Completion& completion : each.completions) tokens += completion.token_ids.size();
        }
        CHECK(tokens == drawn);
        CHECK(std::ssize(engine.pages) <= pages);
        CHECK(std::ranges::all_of(engine.pages, [&](const auto& page) { return page.first >= 0 && page.first < pages; }));
        CHECK((engine.scheduler.preemptions() > 0) == (pages < 30));
      }
    }
  }

  TEST_CASE("a request that the cache cannot hold alone is refused, one that just fits is served") {
    SequenceSchedulerOptions tight = options(8);
    tight.max_tokens = 500;
    tight.pages = 4;
    FakeEngine engine(tight);
    CHECK_THROWS_WITH_AS(engine.submit(request(3, std::vector<std::int32_t>(65, 1), 1, 192)),
                         doctest::Contains("request 3: 257 tokens of prompt and completion take 5 pages of 64 positions: expected at "
                                           "most the cache's 4"),
                         ConfigError);
    engine.submit(request(4, std::vector<std::int32_t>(65, 1), 2, 191));
    CHECK(engine.run().size() == 1);
  }

  TEST_CASE("a cancelled request frees its slots and disturbs no other") {
    FakeEngine engine(options(3));
    engine.submit(request(1, {1, 2, 3}, 2, 8));
    engine.submit(request(2, {4, 5, 6}, 4, 4));
    engine.submit(request(3, {7, 8, 9}, 2, 4));
    for (int i = 0; i < 3; ++i) (void)engine.step();

    CHECK(engine.scheduler.cancel(1));
    CHECK(engine.scheduler.cancel(3));
    CHECK_FALSE(engine.scheduler.cancel(1));
    CHECK(engine.scheduler.tokens_of(1) == 0);

    engine.most_active = 0;
    const std::vector<FinishedRequest> finished = engine.run();
    REQUIRE(finished.size() == 1);
    CHECK(finished[0].id == 2);
    CHECK(engine.most_active == 3);  // the slots of the cancelled ones are in use again
  }

  TEST_CASE("nothing starts while admission is closed") {
    FakeEngine engine(options(2));
    engine.submit(request(1, {1}, 3, 2));
    (void)engine.step();
    engine.scheduler.set_admission(false);
    (void)engine.step();

    CHECK(engine.scheduler.active() == 0);
    CHECK(engine.step().empty());
    CHECK_FALSE(engine.scheduler.idle());

    engine.scheduler.set_admission(true);
    CHECK(engine.run().size() == 1);
  }

  TEST_CASE("the tokens of a request are counted over all its samples") {
    FakeEngine engine(options(2));
    engine.submit(request(1, {1}, 4, 3));
    for (int i = 0; i < 4; ++i) (void)engine.step();

    CHECK(engine.scheduler.tokens_of(1) == 8);
    CHECK(engine.scheduler.tokens_of(2) == 0);
  }

  TEST_CASE("an absurd request is refused by the name of its field") {
    SequenceScheduler scheduler(options(2));
    const auto refused = [&](Request r, const char* field) {
      CHECK_THROWS_WITH_AS(scheduler.submit(std::move(r)), doctest::Contains(field), ConfigError);
    };
    refused(request(8, {}, 1, 4), "request 8: prompt_ids");
    refused(request(8, {1, 100}, 1, 4), "prompt_ids[1] = 100");
    refused(request(8, {-1}, 1, 4), "prompt_ids[0] = -1");
    refused(request(8, {1}, 0, 4), "samples = 0");
    refused(request(8, {1}, 1U << 20, 4), "samples");
    refused(request(8, {1}, 1, 64), "together 65: expected at most the 64 positions");
    refused(request(8, {1}, 1, 0), "request 8: sampling.max_tokens");

    CHECK_NOTHROW(scheduler.submit(request(8, {99}, 1, 63)));
    refused(request(8, {1}, 1, 4), "id is in use");
  }
}

}  // namespace
}  // namespace troupe
