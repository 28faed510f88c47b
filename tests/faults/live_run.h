#pragma once

#include <ATen/ATen.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "actors/actor_loop.h"
#include "common/config/run_folder.h"
#include "common/messages/frame.h"
#include "common/transport/peer_session.h"
#include "common/transport/zmq_hub_channel.h"
#include "common/transport/zmq_peer_channel.h"
#include "learner/hub/hub.h"
#include "learner/publisher.h"
#include "tests/common/model/model_testing.h"
#include "tests/common/rollout_log/scratch_folder.h"

// A run in one process: the real hub, publisher and actors over ZeroMQ, a rewarder that grades by a formula, and a
// learner whose version N is weights made of the number N.

namespace troupe::testing {

inline constexpr std::int64_t kSteps = 4;

inline Architecture live_architecture() {
  Architecture a = small_architecture();
  a.vocabulary = Tokenizer::from_json(character_tokenizer_json(), "characters").vocabulary_size();
  return a;
}

inline Config live_config(std::int64_t max_lag) {
  Config config;
  config.model.path = "model";
  config.data.train = "task:addition/train";
  config.run.steps = kSteps;
  config.run.max_lag = max_lag;
  config.run.exact = max_lag == 0;
  config.group.size = 3;
  config.batch.prompts = 4;
  config.sampling.max_tokens = 24;
  config.actors.slots = 8;
  config.deadline.heartbeat_s = 1.5;
  config.deadline.reconnect_s = 6;
  config.deadline.lease_s = 3;
  return config;
}

/// What happens to an actor's frames on their way to the hub and back.
struct Faults {
  std::function<void(std::string& frame)> on_send;  // may change the frame
  std::function<bool(const std::string& frame)> twice;
  std::atomic<bool> mute = false;  // nothing passes any more, as of a process that was killed or stopped
};

class FaultyChannel final : public PeerChannel {
 public:
  FaultyChannel(std::unique_ptr<PeerChannel> inner, std::shared_ptr<Faults> faults)
      : inner_(std::move(inner)), faults_(std::move(faults)) {}
  bool send(std::string frame, Deadline deadline) override {
    if (faults_->on_send) faults_->on_send(frame);
    if (faults_->mute) return true;
    if (faults_->twice && faults_->twice(frame)) (void)inner_->send(frame, deadline);
    return inner_->send(std::move(frame), deadline);
  }
  std::optional<std::string> receive(Deadline deadline) override {
    std::optional<std::string> frame = inner_->receive(deadline);
    return faults_->mute ? std::nullopt : std::move(frame);
  }

 private:
  std::unique_ptr<PeerChannel> inner_;
  std::shared_ptr<Faults> faults_;  // shared with the test
};

class LiveRun {
 public:
  explicit LiveRun(std::int64_t max_lag = 0)
      : config_(live_config(max_lag)),
        ledger_(scratch_ / "ledger.log"),
        publisher_("live-" + std::to_string(::getpid()), quiet("publisher")) {
    std::filesystem::create_directories(scratch_ / "rollouts");
    ledger_.append(RunStarted{print_config(config_), config_hash(config_), "", "live"});
    auto channel = std::make_unique<ZmqHubChannel>("tcp://127.0.0.1:*");
    endpoint_ = channel->endpoint();
    HubOptions options;
    options.config = config_;
    options.run_dir = (scratch_ / ".").string();
    options.run_id = "live";
    options.stop_ids = {3, 4};
    options.vocabulary = live_architecture().vocabulary;
    hub_.emplace(std::move(options), std::move(channel), ledger_, prompts(), prompts(), quiet("hub"));
    rewarder_ = std::thread([this] { grade(); });
  }
  ~LiveRun() {
    hub_->close(0, "test over", true);
    for (std::thread& actor : actors_) actor.join();
    stop_rewarder_ = true;
    rewarder_.join();
  }

  /// Another actor joins. `host` other than this one's makes it take the stream.
  std::shared_ptr<Faults> add_actor(const std::string& host = host_name()) {
    auto faults = std::make_shared<Faults>();
    ActorOptions options;
    options.connect = [endpoint = endpoint_, faults] {
      return std::make_unique<FaultyChannel>(std::make_unique<ZmqPeerChannel>(endpoint), faults);
    };
    options.hello.role = Role::kActor;
    options.hello.name = "actor " + std::to_string(actors_.size());
    options.hello.host = host;
    options.hello.pid = 1000 + actors_.size();
    options.local = config_;
    options.load_model = [](const Welcome&) {
      return ActorModel{live_architecture(), Tokenizer::from_json(character_tokenizer_json(), "characters")};
    };
    actors_.emplace_back([options = std::move(options)] { (void)run_actor(options, quiet("actor")); });
    return faults;
  }

  /// Publishes version 0; `between` is called before each step's batch is waited for.
  std::vector<std::string> train(const std::function<void(std::int64_t step)>& between = {}) {
    publish(0);
    std::vector<std::string> hashes;
    for (std::int64_t step = 1; step <= kSteps; ++step) {
      if (between) between(step);
      const std::optional<std::vector<GroupRecord>> batch = hub_->next_batch(step, Deadline::after_s(90));
      REQUIRE(batch);
      CHECK(batch->size() == 4);
      for (const GroupRecord& record : *batch) {
        hashes.push_back(std::to_string(record.group) + " " + content_hash(record));
        const auto lag = static_cast<std::uint64_t>(step - 1) - lowest_version(record);
        CHECK(lag <= static_cast<std::uint64_t>(config_.run.max_lag));
        records.push_back(record);
      }
      hub_->step_trained({step, ""});
      publish(static_cast<std::uint64_t>(step));
    }
    return hashes;
  }

  Hub& hub() { return *hub_; }
  std::filesystem::path folder() const { return scratch_ / "."; }
  std::vector<GroupRecord> records;  // trained, in order

  static Parameters weights(std::uint64_t version) {
    return random_parameters(live_architecture(), at::kFloat, version + 1);
  }

 private:
  static Logger quiet(const std::string& name) { return Logger(name, LogLevel::kError); }

  static PromptSource prompts() {
    PromptSource source;
    source.row = [](std::uint64_t number) {
      return Row{{{"number", number}, {"question", "?"}}, "test:" + std::to_string(number)};
    };
    source.prompt_ids = [](const Row& row) {
      std::vector<std::int32_t> ids;
      const auto number = row.json.at("number").get<std::int32_t>();
      for (std::int32_t i = 0; i <= number % 7; ++i) ids.push_back((number * 17 + i * 5) % 90);
      return ids;
    };
    return source;
  }

  void publish(std::uint64_t version) { hub_->publish(publisher_.publish(weights(version), version)); }

  /// The reward is the share of even ids in the length: any function of the completion will do.
  void grade() {
    Hello hello;
    hello.role = Role::kRewarder;
    hello.name = "rewarder 0";
    hello.pid = 1;
    PeerSession session({[this] { return std::make_unique<ZmqPeerChannel>(endpoint_); }, hello, 2, 60},
                        quiet("rewarder"));
    std::uint64_t registration = 0;
    while (!stop_rewarder_ && session.state() != SessionState::kShutdown && session.state() != SessionState::kLost) {
      const std::optional<std::string> frame = session.poll(Deadline::after_ms(20));
      if (session.state() == SessionState::kReady && registration != session.registration()) {
        registration = session.registration();
        (void)session.send(encode(Credit{16}), Deadline::after_s(5));
      }
      if (!frame || frame_type(bytes_of(*frame)) != MessageType::kScoreTask) continue;
      const auto task = decode<ScoreTask>(bytes_of(*frame));
      ScoredGroup scored{task.lease_id, task.incarnation, task.group, task.purpose, {}, 0};
      for (const std::string& text : task.completions) {
        const auto e = std::count_if(text.begin(), text.end(), [](char c) { return c % 2 == 0; });
        scored.scores.push_back({static_cast<double>(e), {{"even", static_cast<double>(e), "ok", 0}}});
      }
      (void)session.send(encode(scored), Deadline::after_s(5));
    }
  }

  ScratchFolder scratch_;
  Config config_;
  Ledger ledger_;
  Publisher publisher_;
  std::string endpoint_;
  std::optional<Hub> hub_;
  std::vector<std::thread> actors_;
  std::atomic<bool> stop_rewarder_ = false;
  std::thread rewarder_;
};

}  // namespace troupe::testing
