#include "learner/objective/trajectory.h"

#include <doctest/doctest.h>

#include <cstring>

#include "common/base/error.h"

namespace troupe {
namespace {

StepPlan sample_plan() {
  Trajectory a;
  a.group = 1ULL << 40;
  a.sample = 3;
  a.ids = {5, -1, 7, 8, 9};
  a.prompt_tokens = 2;
  a.sampler_logprobs = {-0.5F, -0.25F, -3e-20F};
  a.versions = {4, 4, 6};
  a.reward = 0.1;
  a.advantage = -1.0 / 3;
  a.cut_off = true;
  Trajectory b;
  b.ids = {2};
  b.prompt_tokens = 1;

  StepPlan plan;
  plan.step = 12;
  plan.updates.resize(3);
  plan.updates[0].micro_batches = {{a, b}, {}, {b}};
  plan.updates[0].global_sequences = 9;
  plan.updates[0].global_tokens = 77;
  plan.updates[2].micro_batches = {{a}};
  return plan;
}

}  // namespace

TEST_SUITE("objective/trajectory") {
  TEST_CASE("a plan comes back equal from its bytes") {
    const StepPlan plan = sample_plan();

    CHECK(decode_step_plan(encode_step_plan(plan)) == plan);
    CHECK(decode_step_plan(encode_step_plan(StepPlan{})) == StepPlan{});
  }

  TEST_CASE("a completion's bytes are those of its ids and log-probabilities, and a constant for its versions") {
    StepPlan plan;
    plan.updates.resize(1);
    plan.updates[0].micro_batches = {{Trajectory{}}};
    const std::size_t without = encode_step_plan(plan).size();
    Trajectory& t = plan.updates[0].micro_batches[0][0];
    t.ids.assign(1000, 1);
    t.sampler_logprobs.assign(1000, -1);
    t.versions.assign(1000, 5);

    CHECK(encode_step_plan(plan).size() == without + 1000 * 8 + 16);
  }

  TEST_CASE("a plan cut short anywhere, or with bytes after it, is refused") {
    const std::string bytes = encode_step_plan(sample_plan());

    for (std::size_t size = 0; size < bytes.size(); ++size) {
      CAPTURE(size);
      CHECK_THROWS_AS(decode_step_plan(bytes.substr(0, size)), ProtocolError);
    }
    CHECK_THROWS_WITH_AS(decode_step_plan(bytes + "x"), doctest::Contains("expected the end, found 1 bytes more"),
                         ProtocolError);
  }

  TEST_CASE("any byte changed gives another plan or a ProtocolError, never a crash or a huge allocation") {
    const std::string bytes = encode_step_plan(sample_plan());

    for (std::size_t at = 0; at < bytes.size(); ++at) {
      for (const unsigned flip : {0x01U, 0x80U, 0xffU}) {
        std::string changed = bytes;
        changed[at] = static_cast<char>(static_cast<unsigned>(changed[at]) ^ flip);
        try {
          const bool same_bytes = encode_step_plan(decode_step_plan(changed)) == bytes;
          CHECK_FALSE(same_bytes);
        } catch (const ProtocolError&) {
        }
      }
    }
  }

  TEST_CASE("a plan's inconsistency is named") {
    const auto refused = [](auto change, const char* message) {
      StepPlan plan;
      plan.updates.resize(1);
      plan.updates[0].micro_batches.resize(1);
      Trajectory t;
      t.ids = {1, 2};
      t.prompt_tokens = 1;
      t.sampler_logprobs = {-1};
      t.versions = {0};
      plan.updates[0].micro_batches[0].push_back(t);
      std::string bytes = encode_step_plan(plan);
      change(bytes);
      CHECK_THROWS_WITH_AS(decode_step_plan(bytes), doctest::Contains(message), ProtocolError);
    };
    // Offsets: format 0, step 4, updates 12, sequences 20, tokens 28, micro-batches 36, trajectories 44, group 52,
    // sample 60, cut_off 64, reward 65, advantage 73, prompt 81, ids 89 (count) 97, log-probabilities 105 (count) 113,
    // runs 117 (count) 125.
    const auto put = [](std::size_t at, std::int64_t value) {
      return [=](std::string& bytes) { std::memcpy(bytes.data() + at, &value, 8); };
    };
    refused([](std::string& bytes) { bytes[0] = 'X'; }, "expected format TSP1");
    refused(put(12, std::int64_t{1} << 60), "expected updates");
    refused(put(20, -1), "a negative one");
    refused([](std::string& bytes) { bytes[64] = 2; }, "expected 0 or 1");
    refused(put(81, 3), "a prompt within the ids, found 3 of 2");
    refused(put(81, -1), "a prompt within the ids");
    refused(put(81, 0), "a log-probability for each token, found 1");
    refused(put(89, std::int64_t{1} << 62), "expected token ids");
    refused(put(89, 12), "expected token ids, found 12 items");  // 11 would be the bytes that are left
    refused(put(133, 2), "a version for each token, found more");
    refused(put(133, 0), "a version for each token, found 0");
  }

  TEST_CASE("a trajectory whose tokens lack a version is not encoded") {
    StepPlan plan = sample_plan();
    plan.updates[0].micro_batches[0][0].versions.pop_back();

    CHECK_THROWS_AS(encode_step_plan(plan), InternalError);
  }
}

}  // namespace troupe
