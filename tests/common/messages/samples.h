#pragma once

#include "common/messages/control.h"
#include "common/messages/messages.h"
#include "common/messages/weight_manifest.h"

namespace troupe::samples {

// A valid message of each kind with every field away from its default.

inline Completion completion(std::uint32_t sample) {
  return {.sample = sample, .token_ids = {7, 8, 2}, .logprobs = {-0.5F, -1.25F, -0.0F}, .versions = {4, 4, 5},
          .finish_reason = FinishReason::kLength, .text = std::string("so \0 it is", 10)};
}
inline Score score() {
  return {.reward = 1.5, .components = {{.name = "math", .value = 1.0, .reason = "ok", .ms = 0.25},
                                        {.name = "code", .value = std::nullopt, .reason = "verifier_failed", .ms = 3}}};
}
inline Lease lease() {
  Lease m{.lease_id = (std::uint64_t{3} << 48) + 9, .incarnation = 3, .group = 12, .attempt = 1, .purpose = Purpose::kEvaluate,
          .seed = 0xfedcba9876543210, .policy_version = 5, .samples = 8, .prompt_ids = {1, 2, 3}, .sampling = {}};
  m.sampling = {.temperature = 0.7, .top_p = 0.9, .top_k = 40, .min_p = 0.05, .max_tokens = 128, .min_tokens = 4, .stop_ids = {2, 3},
                .stop_texts = {"</answer>"}};
  return m;
}
inline RolloutGroup rollout_group() {
  return {.lease_id = 9, .incarnation = 3, .group = 12, .purpose = Purpose::kEvaluate,
          .completions = {completion(0), completion(1)}, .generate_s = 0.5};
}
inline ScoreTask score_task() {
  return {.lease_id = 9, .incarnation = 3, .group = 12, .purpose = Purpose::kEvaluate, .row = R"({"question":"1+1"})",
          .completions = {"2", ""}, .token_counts = {3, 1}, .finish_reasons = {FinishReason::kStop, FinishReason::kLength}};
}
inline ScoredGroup scored_group() {
  return {.lease_id = 9, .incarnation = 3, .group = 12, .purpose = Purpose::kEvaluate, .scores = {score(), {}}, .score_s = 0.125};
}
inline GroupRecord group_record() {
  return {.group = 12, .purpose = Purpose::kEvaluate, .prompt_ids = {1, 2, 3}, .row = "{}",
          .completions = {completion(0), completion(1)}, .scores = {score(), {.reward = -1, .components = {}}},
          .actor = "actor 0", .rewarder = "rewarder 0", .attempt = 2};
}
inline Hello hello() {
  return {.role = Role::kRewarder, .name = "rewarder 1 @host", .host = "host", .pid = 4242, .rank = 1, .token = "secret"};
}
inline Welcome welcome() {
  return {.incarnation = 3, .run_id = "run-1", .host = "host", .config = "[run]\nseed = 1\n",
          .model_files = {{.name = "config.json", .bytes = "{}"}}};
}
inline Refusal refusal() { return {.reason = "unknown peer", .register_again = true, .lease_id = 9}; }
inline Credit credit() { return {.groups = 16}; }
inline Heartbeat heartbeat() { return {.policy_version = 5, .tokens_per_s = 99.5, .leases = {{9, 100}, {10, 0}}, .weights_stall_s = 0.25}; }
inline Accepted accepted() { return {.lease_id = 9}; }
inline Revoke revoke() { return {.lease_ids = {9, 10}}; }
inline Shutdown shutdown() { return {.exit_code = 75, .reason = "preempted"}; }
inline Goodbye goodbye() { return {.reason = "SIGTERM"}; }
inline LearnerBeat learner_beat() {
  return {.rank = 1, .pid = 4243, .step = 7, .phase = "checkpoint", .lengthy = true, .sequence = 31, .stop = true, .age_ms = 250};
}
inline StepShard step_shard() { return {.step = 7, .body = std::string(100, 'x')}; }
inline WeightManifest weight_manifest() {
  return {.version = 5, .dtype = "bf16", .total_bytes = 40, .bucket_bytes = 16, .bucket_checksums = {1, 2, 3},
          .tensors = {{.name = "a", .shape = {2, 3}, .offset_bytes = 0, .size_bytes = 12},
                      {.name = "b", .shape = {4}, .offset_bytes = 32, .size_bytes = 8}},
          .shared_memory = "/troupe-run-1-5"};
}
inline ManifestRequest manifest_request() { return {.version = 5, .newest = false}; }
inline ChunkRequest chunk_request() { return {.version = 5, .bucket = 2}; }
inline WeightChunk weight_chunk() { return {.version = 5, .bucket = 2, .gone = false, .bytes = "0123456789"}; }

inline WeightMember weight_member() { return {.gpu = "GPU-1"}; }
inline WeightGroup weight_group() { return {.group = 4, .id = std::string(128, 'n'), .rank = 1, .size = 3}; }
inline WeightBroadcast weight_broadcast() { return {.group = 4, .version = 5}; }

/// Calls `f` with a valid message of each kind.
template <class F>
void for_each_message(F&& f) {
  f(hello()), f(welcome()), f(refusal()), f(credit()), f(heartbeat()), f(lease()), f(rollout_group()), f(score_task());
  f(scored_group()), f(accepted()), f(revoke()), f(shutdown()), f(goodbye()), f(learner_beat()), f(step_shard());
  f(weight_manifest()), f(manifest_request()), f(chunk_request()), f(weight_chunk()), f(weight_member()), f(weight_group());
  f(weight_broadcast());
}

}  // namespace troupe::samples
