#include <functional>
#include <set>
#include <string>

#include <doctest/doctest.h>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "common/messages/messages.h"
#include "tests/common/messages/samples.h"

using namespace troupe;

TEST_SUITE("messages/record") {
  TEST_CASE("the content hash is that of the documented bytes") {
    GroupRecord record;
    record.prompt_ids = {1};
    record.completions = {{.sample = 0, .token_ids = {2}, .logprobs = {-0.5F}, .versions = {3},
                           .finish_reason = FinishReason::kLength, .text = "x"}};
    record.scores = {{.reward = 1.0, .components = {{.name = "math", .value = std::nullopt, .reason = "wrong", .ms = 1}}}};

    const auto u64 = [](char low) { return std::string(1, low) + std::string(7, '\0'); };
    const std::string one = std::string("\0\0\0\0\0\0\xf0\x3f", 8);  // 1.0
    const std::string bytes = u64(1) + std::string("\1\0\0\0", 4)                // prompt
                              + u64(1)                                           // completions
                              + u64(1) + std::string("\2\0\0\0", 4)              // token ids
                              + u64(1) + std::string("\0\0\0\xbf", 4)            // -0.5F
                              + u64(1) + u64(3)                                  // versions
                              + u64(1)                                           // finish reason
                              + u64(1) + u64(1) + one + u64(1) + u64(0) + u64(0);  // scores: reward, one component without value
    CHECK(content_hash(record) == xxh3_128_hex(bytes));
  }

  TEST_CASE("the content hash sees what trains and not who or when") {
    const GroupRecord base = samples::group_record();
    const std::vector<std::function<void(GroupRecord&)>> seen = {
        [](auto& r) { r.prompt_ids[0] = 5; },
        [](auto& r) { r.prompt_ids.push_back(5); },
        [](auto& r) { r.completions[0].token_ids[0] = 5; },
        [](auto& r) { r.completions[1].logprobs[2] = -0.25F; },
        [](auto& r) { r.completions[1].versions[0] = 3; },
        [](auto& r) { r.completions[1].finish_reason = FinishReason::kStop; },
        [](auto& r) { r.completions.pop_back(); },
        [](auto& r) { r.scores[0].reward = 0.0; },
        [](auto& r) { r.scores[0].reward.reset(); },
        [](auto& r) { r.scores[0].components[0].value = 0.5; },
        [](auto& r) { r.scores[0].components[0].value.reset(); },
        [](auto& r) { r.scores.pop_back(); },
    };
    const std::vector<std::function<void(GroupRecord&)>> unseen = {
        [](auto& r) { r.actor = "another"; },
        [](auto& r) { r.rewarder = "another"; },
        [](auto& r) { r.attempt = 9; },
        [](auto& r) { r.scores[0].components[0].ms = 9; },
    };

    std::set<std::string> hashes = {content_hash(base)};
    for (const auto& change : seen) {
      GroupRecord record = base;
      change(record);
      hashes.insert(content_hash(record));
    }
    CHECK(hashes.size() == seen.size() + 1);
    for (const auto& change : unseen) {
      GroupRecord record = base;
      change(record);
      CHECK(content_hash(record) == content_hash(base));
    }
  }

  TEST_CASE("the lowest version is taken over all tokens of all completions") {
    GroupRecord record = samples::group_record();
    CHECK(lowest_version(record) == 4);

    record.completions[1].versions[2] = 1;
    CHECK(lowest_version(record) == 1);

    record.completions.clear();
    CHECK_THROWS_AS(lowest_version(record), InternalError);
  }

  TEST_CASE("a record comes back from its bytes, and nothing shorter, longer or invalid does") {
    const GroupRecord record = samples::group_record();
    const std::string bytes = serialize_record(record);

    CHECK(deserialize_record(bytes) == record);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      CHECK_THROWS_AS(deserialize_record(std::string_view(bytes).substr(0, size)), ProtocolError);
    }
    CHECK_THROWS_AS(deserialize_record(bytes + "x"), ProtocolError);
    GroupRecord invalid = record;
    invalid.scores.clear();
    CHECK_THROWS_AS(deserialize_record(serialize_record(invalid)), ProtocolError);
  }
}
