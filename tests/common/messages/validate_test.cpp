#include <cmath>
#include <limits>
#include <string>

#include <doctest/doctest.h>

#include "common/base/error.h"
#include "tests/common/messages/samples.h"

using namespace troupe;

namespace {

/// What validate() says of `message` after `change`; "" where it is satisfied.
template <class M, class Change>
std::string said(M message, Change change) {
  change(message);
  try {
    message.validate();
    return "";
  } catch (const ProtocolError& e) {
    return e.what();
  }
}

#define SAYS(message, change, expected)                                                          \
  do {                                                                                           \
    const std::string found = said(samples::message(), [](auto& m) { change; });                 \
    CHECK_MESSAGE(found.starts_with(expected), #change " said: " << found);                      \
  } while (false)

#define ACCEPTS(message, change) CHECK(said(samples::message(), [](auto& m) { change; }) == "")

const double kNan = std::numeric_limits<double>::quiet_NaN();
const double kInf = std::numeric_limits<double>::infinity();

}  // namespace

TEST_SUITE("messages/validate") {
  TEST_CASE("the samples are valid") {
    samples::for_each_message([](const auto& message) { CHECK_NOTHROW(message.validate()); });
    CHECK_NOTHROW(samples::group_record().validate());
  }

  TEST_CASE("a lease's fields are in range") {
    SAYS(lease, m.samples = 65537, "Lease.samples: expected 1 to 65536, found 65537");
    SAYS(lease, m.purpose = Purpose{2}, "Lease.purpose: expected 0 to 1, found 2");
    SAYS(lease, m.prompt_ids.clear(), "Lease.prompt_ids (count): expected 1 to");
    SAYS(lease, m.prompt_ids[1] = -1, "Lease.prompt_ids[1]: expected a token id of at least 0, found -1");
    SAYS(lease, m.sampling.temperature = -0.1, "Lease.sampling.temperature: expected 0 to 10000, found -0.1");
    SAYS(lease, m.sampling.temperature = kNan, "Lease.sampling.temperature: expected 0 to 10000, found nan");
    SAYS(lease, m.sampling.top_p = 0, "Lease.sampling.top_p");
    SAYS(lease, m.sampling.top_p = 1.01, "Lease.sampling.top_p");
    SAYS(lease, m.sampling.top_k = -1, "Lease.sampling.top_k");
    SAYS(lease, m.sampling.min_p = 1.5, "Lease.sampling.min_p");
    SAYS(lease, m.sampling.max_tokens = 0, "Lease.sampling.max_tokens");
    SAYS(lease, m.sampling.stop_ids = {-5}, "Lease.sampling.stop_ids[0]");
    SAYS(lease, m.sampling.min_tokens = m.sampling.max_tokens, "Lease.sampling.min_tokens");
    SAYS(lease, m.sampling.stop_texts = {""}, "Lease.sampling.stop_texts (bytes)");
    ACCEPTS(lease, m.sampling.temperature = 0);
    ACCEPTS(lease, m.sampling.top_p = 1);
    ACCEPTS(lease, m.samples = 65536);
  }

  TEST_CASE("a completion's parallel arrays have one length, in sample order") {
    SAYS(rollout_group, m.completions.clear(), "RolloutGroup.completions (count): expected 1 to 65536, found 0");
    SAYS(rollout_group, m.completions[1].sample = 0,
         "RolloutGroup.completions[1].sample: expected 1 (sample order), found 0");
    SAYS(rollout_group, m.completions[0].token_ids.clear(), "RolloutGroup.completions[0].token_ids (count)");
    SAYS(rollout_group, m.completions[0].token_ids[2] = -1, "RolloutGroup.completions[0].token_ids[2]");
    SAYS(rollout_group, m.completions[0].logprobs.pop_back(),
         "RolloutGroup.completions[0].logprobs: expected 3 elements as in token_ids, found 2");
    SAYS(rollout_group, m.completions[1].versions.push_back(1), "RolloutGroup.completions[1].versions: expected 3 elements");
    SAYS(rollout_group, m.completions[1].finish_reason = FinishReason{2}, "RolloutGroup.completions[1].finish_reason");
    SAYS(rollout_group, m.purpose = Purpose{9}, "RolloutGroup.purpose");
    SAYS(rollout_group, m.generate_s = -1, "RolloutGroup.generate_s");
    SAYS(rollout_group, m.generate_s = kInf, "RolloutGroup.generate_s");
  }

  TEST_CASE("a log-probability is finite and not above 0 but for rounding") {
    SAYS(rollout_group, m.completions[0].logprobs[1] = 0.5F,
         "RolloutGroup.completions[0].logprobs[1]: expected a finite number of at most 0, found 0.5");
    SAYS(rollout_group, m.completions[0].logprobs[1] = std::nanf(""), "RolloutGroup.completions[0].logprobs[1]");
    SAYS(rollout_group, m.completions[0].logprobs[1] = -std::numeric_limits<float>::infinity(),
         "RolloutGroup.completions[0].logprobs[1]");
    ACCEPTS(rollout_group, m.completions[0].logprobs[1] = 1e-6F);
  }

  TEST_CASE("a score task and its scores are complete and finite") {
    SAYS(score_task, m.completions.clear(), "ScoreTask.completions (count)");
    SAYS(score_task, m.purpose = Purpose{2}, "ScoreTask.purpose");
    SAYS(score_task, m.token_counts.pop_back(), "ScoreTask.token_counts: expected 2 elements as in completions, found 1");
    SAYS(score_task, m.finish_reasons.pop_back(), "ScoreTask.finish_reasons: expected 2 elements");
    SAYS(score_task, m.finish_reasons[1] = FinishReason{7}, "ScoreTask.finish_reasons[1]: expected 0 to 1, found 7");
    SAYS(scored_group, m.scores.clear(), "ScoredGroup.scores (count)");
    SAYS(scored_group, m.purpose = Purpose{2}, "ScoredGroup.purpose");
    SAYS(scored_group, m.scores[0].reward = kNan, "ScoredGroup.scores[0].reward: expected a finite number, found nan");
    SAYS(scored_group, m.scores[0].components[0].value = kInf, "ScoredGroup.scores[0].components[0].value");
    SAYS(scored_group, m.scores[0].components[0].name = "", "ScoredGroup.scores[0].components[0].name (count)");
    SAYS(scored_group, m.scores[0].components[1].reason = "a\nb",
         "ScoredGroup.scores[0].components[1].reason: expected printable characters");
    SAYS(scored_group, m.scores[0].components[1].ms = kNan, "ScoredGroup.scores[0].components[1].ms");
    SAYS(scored_group, m.scores[1].components.resize(257), "ScoredGroup.scores[1].components (count)");
    SAYS(scored_group, m.score_s = -1, "ScoredGroup.score_s");
    SAYS(group_record, m.scores.pop_back(), "GroupRecord.scores: expected 2 elements as in completions, found 1");
    SAYS(group_record, m.prompt_ids.clear(), "GroupRecord.prompt_ids (count)");
    SAYS(group_record, m.completions[0].versions.clear(), "GroupRecord.completions[0].versions");
  }

  TEST_CASE("control messages are bounded and their names printable") {
    SAYS(hello, m.role = Role{3}, "Hello.role: expected 0 to 2, found 3");
    SAYS(hello, m.name = "", "Hello.name (count)");
    SAYS(hello, m.name = "a\x1b[31m", "Hello.name: expected printable characters");
    SAYS(hello, m.host = std::string(513, 'h'), "Hello.host (count): expected 0 to 512, found 513");
    SAYS(hello, m.token = std::string(513, 'h'), "Hello.token (count)");
    SAYS(welcome, m.run_id = "\n", "Welcome.run_id");
    SAYS(welcome, m.host = "\n", "Welcome.host");
    SAYS(welcome, m.model_files[0].name = "", "Welcome.model_files");
    SAYS(welcome, m.model_files[0].name = "../x", "Welcome.model_files");
    SAYS(welcome, m.model_files[0].name = "..", "Welcome.model_files");
    SAYS(refusal, m.reason = "", "Refusal.reason (count)");
    SAYS(credit, m.groups = 65537, "Credit.groups: expected 0 to 65536, found 65537");
    SAYS(heartbeat, m.tokens_per_s = kNan, "Heartbeat.tokens_per_s");
    SAYS(heartbeat, m.weights_stall_s = -1, "Heartbeat.weights_stall_s");
    SAYS(heartbeat, m.leases.resize(65537), "Heartbeat.leases (count)");
    SAYS(revoke, m.lease_ids.clear(), "Revoke.lease_ids (count)");
    SAYS(shutdown, m.exit_code = 256, "Shutdown.exit_code: expected 0 to 255, found 256");
    SAYS(shutdown, m.exit_code = -1, "Shutdown.exit_code");
    SAYS(shutdown, m.reason = std::string(65537, 'x'), "Shutdown.reason (count)");
    SAYS(goodbye, m.reason = std::string(65537, 'x'), "Goodbye.reason (count)");
    SAYS(learner_beat, m.step = -1, "LearnerBeat.step");
    SAYS(learner_beat, m.phase = "\t", "LearnerBeat.phase");
    SAYS(step_shard, m.step = -1, "StepShard.step");
  }

  TEST_CASE("a manifest's tensors fit their shapes, one another and the buffer") {
    SAYS(weight_manifest, m.dtype = "fp16", "WeightManifest.dtype: expected fp32 or bf16, found \"fp16\"");
    SAYS(weight_manifest, m.bucket_bytes = 0, "WeightManifest.bucket_bytes");
    SAYS(weight_manifest, m.bucket_checksums.pop_back(),
         "WeightManifest.bucket_checksums: expected 3 (40 bytes in buckets of 16), found 2");
    SAYS(weight_manifest, m.total_bytes = 49, "WeightManifest.bucket_checksums: expected 4");
    SAYS(weight_manifest, m.tensors.clear(), "WeightManifest.tensors (count)");
    SAYS(weight_manifest, m.tensors[0].name = "", "WeightManifest.tensors[0].name (count)");
    SAYS(weight_manifest, m.dtype = "fp32", "WeightManifest.tensors[0] \"a\".size_bytes: expected 24 by its shape, found 12");
    SAYS(weight_manifest, m.tensors[0].shape = {-2}, "WeightManifest.tensors[0] \"a\".size_bytes");
    SAYS(weight_manifest, (m.tensors[0].shape = {std::int64_t{1} << 62, std::int64_t{1} << 62}, m.tensors[0].size_bytes = 0),
         "WeightManifest.tensors[0] \"a\".size_bytes: expected a shape whose bytes can be counted");
    SAYS(weight_manifest, m.tensors[0].shape.resize(17, 1), "WeightManifest.tensors[0] \"a\".shape (count)");
    SAYS(weight_manifest, m.tensors[1].offset_bytes = 10, "WeightManifest.tensors[1] \"b\".offset_bytes");
    SAYS(weight_manifest, m.tensors[1].offset_bytes = 33, "WeightManifest.tensors[1] \"b\".offset_bytes");
    SAYS(weight_manifest, m.tensors[1].offset_bytes = ~std::uint64_t{0}, "WeightManifest.tensors[1] \"b\".offset_bytes");
    SAYS(weight_manifest, m.shared_memory = "/../etc", "WeightManifest.shared_memory");
    ACCEPTS(weight_manifest, m.tensors[1].offset_bytes = 12);
    ACCEPTS(weight_manifest, m.shared_memory = "");
    ACCEPTS(weight_manifest, (m.total_bytes = 48));
  }

  TEST_CASE("a chunk has bytes unless its version is gone") {
    SAYS(weight_chunk, m.gone = true, "WeightChunk.bytes");
    SAYS(weight_chunk, m.bytes.clear(), "WeightChunk.bytes");
    SAYS(weight_member, m.gpu.push_back('\n'), "WeightMember.gpu");
    SAYS(weight_group, m.id.pop_back(), "WeightGroup.id (bytes)");
    SAYS(weight_group, m.rank = 0, "WeightGroup.rank");
    SAYS(weight_group, m.rank = 3, "WeightGroup.rank");
    SAYS(weight_group, m.size = 1, "WeightGroup.size");
    ACCEPTS(weight_chunk, (m.gone = true, m.bytes.clear()));
  }
}
