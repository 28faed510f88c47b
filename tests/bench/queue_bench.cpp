// The queue path: how many groups a second go lease → rollout → score task → scores → batch through the real hub (ledger and
// rollout log included) over ZeroMQ on loopback, with simulated actors and rewarders. The bound is a bare ROUTER with DEALERs
// that exchange four messages of the same sizes for each group and do nothing else, measured in the same run.
//
// queue_bench [SECONDS [ACTORS …]]: one JSON line for each number of actors; 1, 8 and 64 by default.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <zmq.hpp>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "common/transport/peer_session.h"
#include "common/transport/zmq_hub_channel.h"
#include "common/transport/zmq_peer_channel.h"
#include "learner/hub/hub.h"
#include "tests/bench/bench_line.h"

namespace {

using namespace troupe;

constexpr int kSamples = 8;
constexpr int kTokens = 128;
constexpr int kPromptTokens = 64;
constexpr int kBatch = 64;         // groups of a step
constexpr double kSliceS = 0.2;    // one sample of the rate
constexpr double kWarmUpS = 0.5;
constexpr int kRewarders = 2;
constexpr std::uint32_t kRewarderCredit = 16;
constexpr int kLag = 3;            // with hub.ahead 1: 256 open groups, which a learner that takes no time can still use

Logger quiet() { return Logger("bench", LogLevel::kError); }

/// What `body` returns; where it throws, the process ends with the reason, for other threads may still run.
template <class Body>
auto or_exit(Body body) {
  try {
    return body();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "queue_bench: %s\n", e.what());
    std::_Exit(1);
  }
}

template <class Body>
std::thread guarded(Body body) {
  return std::thread([body = std::move(body)] { or_exit(body); });
}

/// Groups that an actor holds at once: 16, or less where 192 groups are spread over many.
std::uint32_t credit_of(int actors) { return static_cast<std::uint32_t>(std::min(16, std::max(1, 192 / actors))); }

/// Turns finished groups into rates over slices of time, after a warm-up.
class RateMeter {
 public:
  void add(int groups) {
    const auto now = std::chrono::steady_clock::now();
    groups_ += groups;
    const double took = std::chrono::duration<double>(now - slice_start_).count();
    if (took < (warm_ ? kSliceS : kWarmUpS)) return;
    if (warm_) rates_.push_back(groups_ / took);
    warm_ = true;
    groups_ = 0;
    slice_start_ = now;
  }
  bool done(double seconds) const { return static_cast<double>(rates_.size()) * kSliceS >= seconds; }
  const std::vector<double>& rates() const { return rates_; }

 private:
  std::chrono::steady_clock::time_point slice_start_ = std::chrono::steady_clock::now();
  int groups_ = 0;
  bool warm_ = false;
  std::vector<double> rates_;
};

// --- Messages of a real group's size ---

Row row_of(std::uint64_t number) {
  return {{{"question", "What is " + std::to_string(number) + " + 17? " + std::string(200, 'q')}, {"gold", "42"}}, "bench"};
}

RolloutGroup rollout_for(const Lease& lease) {
  RolloutGroup rollout{.lease_id = lease.lease_id, .incarnation = lease.incarnation, .group = lease.group,
                       .purpose = lease.purpose, .completions = {}, .generate_s = 0.1};
  for (std::uint32_t s = 0; s < lease.samples; ++s) {
    Completion completion{.sample = s, .token_ids = {}, .logprobs = {}, .versions = {},
                          .finish_reason = FinishReason::kLength, .text = std::string(kTokens * 4, 'a')};
    completion.versions.assign(kTokens, lease.policy_version);
    for (std::uint32_t t = 0; t < kTokens; ++t) {
      const std::uint32_t mixed = (static_cast<std::uint32_t>(lease.group) * 131 + s * 31 + t) * 2654435761U;
      completion.token_ids.push_back(static_cast<std::int32_t>(mixed >> 15));
      completion.logprobs.push_back(-static_cast<float>(mixed >> 8) * 1e-7F);
    }
    rollout.completions.push_back(std::move(completion));
  }
  return rollout;
}

ScoredGroup scores_for(const ScoreTask& task) {
  ScoredGroup scored{.lease_id = task.lease_id, .incarnation = task.incarnation, .group = task.group,
                     .purpose = task.purpose, .scores = {}, .score_s = 0.01};
  for (std::size_t i = 0; i < task.completions.size(); ++i) {
    const double value = i % 2 == 0 ? 1.0 : 0.0;
    scored.scores.push_back({.reward = value, .components = {{.name = "math", .value = value, .reason = "ok", .ms = 0.1},
                                                             {.name = "format", .value = 0.0, .reason = "ok", .ms = 0.1}}});
  }
  return scored;
}

struct Sizes {
  std::size_t lease = 0, rollout = 0, task = 0, scores = 0;
  std::size_t total() const { return lease + rollout + task + scores; }
};

Sizes sizes_of_a_group() {
  Lease lease{.lease_id = 1, .incarnation = 1, .group = 1, .attempt = 0, .purpose = Purpose::kTrain, .seed = 1,
              .policy_version = 0, .samples = kSamples, .prompt_ids = {}, .sampling = {}};
  lease.prompt_ids.assign(kPromptTokens, 1);
  const RolloutGroup rollout = rollout_for(lease);
  ScoreTask task{.lease_id = 1, .incarnation = 1, .group = 1, .purpose = Purpose::kTrain, .row = row_of(1).json.dump(),
                 .completions = {}, .token_counts = {}, .finish_reasons = {}};
  for (const Completion& c : rollout.completions) task.completions.push_back(c.text);
  task.token_counts.assign(kSamples, kTokens);
  task.finish_reasons.assign(kSamples, FinishReason::kLength);
  return {encode(lease).size(), encode(rollout).size(), encode(task).size(), encode(scores_for(task)).size()};
}

// --- The real path ---

/// A peer that answers each frame of the role by `answer` until the hub ends the session.
template <class Answer>
void play(const std::string& endpoint, Role role, const std::string& name, std::uint32_t credit, Answer answer) {
  PeerSession session({.connect = [endpoint] { return std::make_unique<ZmqPeerChannel>(endpoint); },
                       .hello = {.role = role, .name = name, .host = "bench", .pid = 1, .rank = 0, .token = ""}},
                      quiet());
  std::uint64_t registration = 0;
  while (session.state() != SessionState::kShutdown && session.state() != SessionState::kLost) {
    const auto frame = session.poll(Deadline::after_ms(100));
    if (session.registration() != registration) {
      registration = session.registration();
      check(session.send(encode(Credit{.groups = credit}), Deadline::after_s(5)), "the credit was not taken");
    }
    if (!frame) continue;
    const std::string reply = answer(*frame);
    if (!reply.empty()) check(session.send(reply, Deadline::after_s(10)), "a result was not taken");
  }
}

void act(const std::string& endpoint, int index, std::uint32_t credit) {
  play(endpoint, Role::kActor, "actor " + std::to_string(index), credit, [](const std::string& frame) {
    if (frame_type(bytes_of(frame)) != MessageType::kLease) return std::string();
    return encode(rollout_for(decode<Lease>(bytes_of(frame))));
  });
}

void reward(const std::string& endpoint, int index) {
  play(endpoint, Role::kRewarder, "rewarder " + std::to_string(index), kRewarderCredit, [](const std::string& frame) {
    if (frame_type(bytes_of(frame)) != MessageType::kScoreTask) return std::string();
    return encode(scores_for(decode<ScoreTask>(bytes_of(frame))));
  });
}

PublishedWeights weights_of(std::uint64_t version) {
  const auto bytes = std::make_shared<const std::string>(4, '\0');
  WeightManifest manifest{.version = version, .dtype = "fp32", .total_bytes = 4, .bucket_bytes = 4,
                          .bucket_checksums = {xxh3_64(std::string_view(*bytes))},
                          .tensors = {{.name = "w", .shape = {1}, .offset_bytes = 0, .size_bytes = 4}}, .shared_memory = ""};
  return {std::move(manifest), *bytes, bytes};
}

HubOptions hub_options(const std::string& run_dir) {
  HubOptions options;
  options.run_dir = run_dir;
  options.run_id = "bench";
  options.config.run.max_lag = kLag;
  options.config.run.steps = 1'000'000;
  options.config.batch.prompts = kBatch;
  options.config.group.size = kSamples;
  options.config.sampling.max_tokens = kTokens;
  options.config.hub.ahead = 1;
  return options;
}

void check_batch(const std::vector<GroupRecord>& batch) {
  check(batch.size() == kBatch, "a batch has another size");
  for (const GroupRecord& record : batch) {
    check(record.completions.size() == kSamples && record.scores.size() == kSamples, "a group is not whole");
    Lease lease;
    lease.group = record.group;
    lease.samples = kSamples;
    lease.policy_version = lowest_version(record);
    check(record.completions == rollout_for(lease).completions, "a group came back changed");
  }
}

/// The learner's side: takes batches for `seconds`; the rates over slices of time.
std::vector<double> take_batches(Hub& hub, double seconds) {
  RateMeter meter;
  std::int64_t step = 1;
  for (; !meter.done(seconds); ++step) {
    const auto batch = hub.next_batch(step, Deadline::after_s(60));
    check(batch.has_value(), "no batch within 60 s");
    if (step == 1) check_batch(*batch);
    hub.step_trained({step, ""});
    hub.publish(weights_of(static_cast<std::uint64_t>(step)));
    meter.add(kBatch);
  }
  std::int64_t trained = 0;
  hub.read_ledger([&](const LedgerState& ledger) {
    for (const auto& [number, entry] : ledger.groups) trained += entry.state == GroupState::kTrained ? 1 : 0;
  });
  check(trained == (step - 1) * kBatch, "the ledger does not balance");
  // An actor that the machine let wait may come too late; nothing else may be refused.
  const HubStatus status = hub.status();
  check(status.refused_frames == status.late_results, "the hub refused frames");
  return meter.rates();
}

std::vector<double> through_the_hub(int actors, double seconds) {
  std::string folder = (std::filesystem::temp_directory_path() / "troupe-bench-XXXXXX").string();
  check(::mkdtemp(folder.data()) != nullptr, "mkdtemp");
  std::vector<double> rates;
  {
    auto channel = std::make_unique<ZmqHubChannel>("tcp://127.0.0.1:*");
    const std::string endpoint = channel->endpoint();
    Ledger ledger(std::filesystem::path(folder) / "ledger.log");
    ledger.append(RunStarted{"", "", "", "bench"});
    const PromptSource prompts{row_of, [](const Row&) { return std::vector<std::int32_t>(kPromptTokens, 1); }};
    Hub hub(hub_options(folder), std::move(channel), ledger, prompts, prompts, quiet());
    hub.publish(weights_of(0));
    std::vector<std::thread> peers;
    for (int i = 0; i < kRewarders; ++i) peers.push_back(guarded([=] { reward(endpoint, i); }));
    for (int i = 0; i < actors; ++i) peers.push_back(guarded([=] { act(endpoint, i, credit_of(actors)); }));
    rates = or_exit([&] { return take_batches(hub, seconds); });
    hub.close(0, "done", true);
    for (std::thread& peer : peers) peer.join();
  }
  std::filesystem::remove_all(folder);
  return rates;
}

// --- The bound ---

/// A DEALER that says `first` and then `reply_bytes` for every message that it gets.
void answer_raw(const std::string& endpoint, const std::string& id, const std::vector<std::string>& first,
                std::size_t reply_bytes, const std::atomic<bool>& stop) {
  zmq::context_t context(1);
  zmq::socket_t socket(context, zmq::socket_type::dealer);
  set_peer_options(socket, {.linger_ms = 0}, id);
  socket.set(zmq::sockopt::rcvtimeo, 50);
  socket.connect(endpoint);
  for (const std::string& message : first) socket.send(zmq::buffer(message));
  const std::string reply(reply_bytes, 'x');
  zmq::message_t got;
  while (!stop) {
    if (socket.recv(got)) socket.send(zmq::buffer(reply));
  }
}

void send_raw(zmq::socket_t& router, const std::string& to, const std::string& bytes) {
  router.send(zmq::buffer(to), zmq::send_flags::sndmore);
  router.send(zmq::buffer(bytes));
}

std::vector<double> through_raw_sockets(int actors, double seconds, const Sizes& sizes) {
  zmq::context_t context(1);
  zmq::socket_t router(context, zmq::socket_type::router);
  set_hub_options(router, {.linger_ms = 0});
  router.bind("tcp://127.0.0.1:*");
  const std::string endpoint = router.get(zmq::sockopt::last_endpoint);
  std::atomic<bool> stop = false;
  std::vector<std::thread> peers;
  zmq::message_t id, payload;
  for (int i = 0; i < kRewarders; ++i) {
    peers.push_back(guarded([&, i] { answer_raw(endpoint, "r" + std::to_string(i), {"here"}, sizes.scores, stop); }));
    (void)router.recv(id);
    (void)router.recv(payload);
  }
  const std::vector<std::string> first(credit_of(actors), std::string(sizes.rollout, 'x'));
  for (int i = 0; i < actors; ++i) {
    peers.push_back(guarded([&, i] { answer_raw(endpoint, "a" + std::to_string(i), first, sizes.rollout, stop); }));
  }

  const std::string lease(sizes.lease, 'x'), task(sizes.task, 'x');
  std::deque<std::string> waiting;  // actors whose groups are being scored
  RateMeter meter;
  std::size_t next_rewarder = 0;
  while (!meter.done(seconds)) {
    (void)router.recv(id);
    (void)router.recv(payload);
    if (id.to_string_view().front() == 'a') {
      waiting.push_back(id.to_string());
      send_raw(router, "r" + std::to_string(next_rewarder++ % kRewarders), task);
      continue;
    }
    send_raw(router, waiting.front(), lease);
    waiting.pop_front();
    meter.add(1);
  }
  stop = true;
  for (std::thread& peer : peers) peer.join();
  return meter.rates();
}

void measure(int actors, double seconds) {
  const Sizes sizes = sizes_of_a_group();
  const auto raw = bench::percentiles(through_raw_sockets(actors, seconds, sizes));
  const auto hub = bench::percentiles(through_the_hub(actors, seconds));
  const double median = hub["median"];
  const double bound = raw["median"];
  const nlohmann::ordered_json line = {
      {"bench", "queue"},
      {"actors", actors},
      {"rewarders", kRewarders},
      {"completions", kSamples},
      {"tokens", kTokens},
      {"group_bytes", sizes.total()},
      {"groups_per_s", hub},
      {"mb_per_s", median * static_cast<double>(sizes.total()) / 1e6},
      {"bound", "the same four messages a group through a bare ZeroMQ ROUTER and DEALERs"},
      {"bound_groups_per_s", raw},
      {"share_of_bound", median / bound},
  };
  std::printf("%s\n", bench::with_origin(line).dump().c_str());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  std::vector<int> counts;
  for (int i = 2; i < argc; ++i) counts.push_back(std::atoi(argv[i]));
  if (counts.empty()) counts = {1, 8, 64};
  or_exit([&] {
    for (const int actors : counts) measure(actors, seconds);
  });
  return 0;
}
