#pragma once

// A HubCore over the in-memory channel, in one thread and with time moved by hand, and fake peers that speak raw
// frames.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/messages/frame.h"
#include "common/transport/in_memory_channel.h"
#include "learner/hub/hub_core.h"
#include "tests/common/rollout_log/scratch_folder.h"
#include "tests/learner/hub/scheduler_world.h"

namespace troupe::test {

inline PromptSource prompts_of(const std::string& name) {
  return {[name](std::uint64_t number) {
            const std::string question = name + " " + std::to_string(number);
            const std::string line = name == "train" ? "{ \"question\": \"" + question + "\" }" : "";  // as it stands in a file
            return Row{{{"question", question}}, name + ":" + std::to_string(number), line};
          },
          [](const Row& row) { return std::vector<std::int32_t>{static_cast<std::int32_t>(row.json.size())}; }};
}

inline Config hub_config() {
  Config config;
  config.run.steps = 3;
  config.batch.prompts = 2;
  config.group.size = 2;
  config.sampling.max_tokens = 4;
  config.deadline.heartbeat_s = 0.4;
  config.deadline.lease_s = 1;
  config.learners.count = 2;
  return config;
}

inline PublishedWeights weights_of(std::uint64_t version, const std::string& content = "0123456789ab") {
  auto owner = std::make_shared<const std::string>(content);
  PublishedWeights weights;
  weights.bytes = *owner;
  weights.owner = owner;
  weights.manifest.version = version;
  weights.manifest.dtype = "fp32";
  weights.manifest.total_bytes = content.size();
  weights.manifest.bucket_bytes = 8;
  weights.manifest.bucket_checksums = {1, 2};
  weights.manifest.tensors = {{"w", {3}, 0, 12}};
  return weights;
}

/// One end of a conversation, keeping what it was told.
class FakePeer {
 public:
  FakePeer(InMemoryHubChannel& hub, const PeerId& id) : channel_(hub.connect(id)) {}

  void send_frame(const std::string& frame) {
    check(channel_->send(frame, Deadline::after_ms(0)), "the hub's inbox is full");
  }
  template <class M>
  void send(const M& message) {
    send_frame(encode(message));
  }
  /// The messages of type M that came since the last call, others put aside.
  template <class M>
  std::vector<M> take(MessageType type) {
    while (auto frame = channel_->receive(Deadline::after_ms(0))) told_.push_back(*frame);
    std::vector<M> messages;
    std::erase_if(told_, [&](const std::string& frame) {
      if (frame_type(bytes_of(frame)) != type) return false;
      messages.push_back(decode<M>(bytes_of(frame)));
      return true;
    });
    return messages;
  }
  std::vector<Lease> leases() { return take<Lease>(MessageType::kLease); }
  std::vector<ScoreTask> tasks() { return take<ScoreTask>(MessageType::kScoreTask); }
  std::vector<Refusal> refusals() { return take<Refusal>(MessageType::kRefusal); }
  std::vector<Revoke> revokes() { return take<Revoke>(MessageType::kRevoke); }
  std::vector<Accepted> accepted() { return take<Accepted>(MessageType::kAccepted); }

 private:
  std::unique_ptr<PeerChannel> channel_;
  std::vector<std::string> told_;
};

inline std::vector<std::uint64_t> numbers_of(const std::optional<std::vector<GroupRecord>>& records) {
  std::vector<std::uint64_t> numbers;
  if (records) {
    for (const GroupRecord& record : *records) numbers.push_back(record.group);
  }
  return numbers;
}

struct HubWorld {
  explicit HubWorld(Config config_ = hub_config()) { start(config_); }

  /// Also for a restart: the next incarnation on the same files.
  void start(const Config& config, const std::string& token = "", RankBoard* ranks = nullptr) {
    core.reset();
    ledger.reset();
    const bool first = !std::filesystem::exists(folder / "ledger.log");
    ledger.emplace(folder / "ledger.log");
    if (first) ledger->append(RunStarted{print_config(config), config_hash(config), "", "run-1"});
    HubOptions options;
    options.config = config;
    options.run_dir = (folder / "").string();
    options.run_id = "run-1";
    options.incarnation = ledger->state().incarnation + 1;
    options.token = token;
    options.ranks = ranks;
    core.emplace(options, channel, *ledger, prompts_of("train"), prompts_of("held out"),
                 Logger("hub", LogLevel::kError));
  }

  void pump() {
    while (auto incoming = channel.receive(Deadline::after_ms(0))) core->handle(*incoming, now_ms);
    core->advance(now_ms);
    core->flush();
  }
  /// A registered peer with credit.
  std::unique_ptr<FakePeer> join(Role role, const std::string& name, std::uint32_t credit = 100) {
    auto peer = std::make_unique<FakePeer>(channel, name);
    peer->send(hello_of(role, name));
    peer->send(Credit{credit});
    pump();
    return peer;
  }
  /// Lets actor and rewarder answer everything that they were given; rewards differ in each group.
  void work(FakePeer& actor, FakePeer& rewarder) {
    pump();
    for (bool busy = true; busy;) {
      busy = false;
      for (const Lease& lease : actor.leases()) {
        actor.send(rollout_for(lease, lease.policy_version));
        busy = true;
      }
      pump();
      for (const ScoreTask& task : rewarder.tasks()) {
        rewarder.send(scores_for(task, std::vector<double>(task.completions.size(), 1.0)));
        busy = true;
      }
      pump();
    }
  }

  ScratchFolder folder;
  InMemoryHubChannel channel;
  std::optional<Ledger> ledger;
  std::optional<HubCore> core;
  std::int64_t now_ms = 1'000'000;
};

}  // namespace troupe::test
