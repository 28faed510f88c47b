#include "actors/actor_loop.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "actors/completion_text.h"
#include "actors/engine_options.h"
#include "actors/held_results.h"
#include "actors/weight_subscriber.h"
#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/messages/frame.h"
#include "common/messages/messages.h"
#include "common/messages/weight_manifest.h"
#include "common/model/broadcast_group.h"
#include "common/model/compute_device.h"
#include "common/transport/peer_session.h"

namespace troupe {
namespace {

constexpr int kStoppedExitCode = 75;
constexpr std::int64_t kIdlePollMs = 100;
constexpr std::int64_t kSendMs = 1;
constexpr std::int64_t kReportMs = 30'000;
constexpr int kFramesPerTurn = 64;  // taken between two steps, so that a flood cannot stop the generation

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

class ActorLoop {
 public:
  ActorLoop(const ActorOptions& options, const Logger& logger);
  int run();

 private:
  /// A lease in work. Waits in `leases_` until the weights that it asks for are here.
  struct OpenLease {
    Lease lease;
    std::int64_t since_ms = 0;
    bool submitted = false;
  };
  std::optional<int> turn();
  bool busy() const { return engine_ && !engine_->idle(); }
  void register_with_hub();
  void receive_frames();
  void handle(const std::string& frame);
  void on_lease(Lease lease);
  void on_manifest(const WeightManifest& manifest);
  void begin_weights(const WeightManifest& first);
  void take_weights();
  void use(ArrivedWeights weights);
  void start_leases();
  void generate();
  void hand_over(FinishedRequest finished);
  void send_due();
  bool send_now(std::string frame) { return session_.send(std::move(frame), Deadline::after_ms(kSendMs)); }
  void drop_work(const std::string& why);
  Heartbeat heartbeat();
  std::string waiting_for() const;
  void report();

  ActorOptions options_;
  Logger logger_;
  SteadyClock clock_;
  PeerSession session_;
  Config run_;  // the hub's
  std::uint64_t registration_ = 0;
  std::uint64_t incarnation_ = 0;

  std::optional<WeightManifest> first_manifest_;  // until the model is loaded
  std::int64_t manifest_asked_ms_ = 0;
  std::optional<ActorModel> model_;
  std::optional<WeightSubscriber> subscriber_;
  std::optional<Engine> engine_;
  at::Device device_ = at::kCPU;
  double stall_s_ = 0, version_stall_s_ = 0;  // for the version that is coming, and for the one in use

  std::map<std::uint64_t, OpenLease> leases_;
  HeldResults results_;
  std::deque<std::string> outbox_;
  std::uint64_t groups_done_ = 0;
  std::uint64_t refused_frames_ = 0;

  std::int64_t beat_ms_ = 0;       // of the last heartbeat
  std::uint64_t beat_tokens_ = 0;  // drawn until then
  std::int64_t report_ms_ = 0;
  std::uint64_t report_tokens_ = 0;
};

ActorLoop::ActorLoop(const ActorOptions& options, const Logger& logger)
    : options_(options),
      logger_(logger),
      session_({options.connect, options.hello, options.local.deadline.heartbeat_s, options.local.deadline.reconnect_s}, logger) {
  session_.make_heartbeat = [this] { return heartbeat(); };
  report_ms_ = beat_ms_ = clock_.now_ms();
}

int ActorLoop::run() {
  try {
    while (true) {
      if (const std::optional<int> exit_code = turn()) return *exit_code;
    }
  } catch (const Error& error) {
    send_now(encode(Goodbye{error.what()}));
    throw;
  }
}

/// One round of everything; the exit code where it was the last.
std::optional<int> ActorLoop::turn() {
  if (options_.stop && options_.stop()) {
    send_now(encode(Goodbye{"stopped by a signal"}));
    return kStoppedExitCode;
  }
  receive_frames();
  if (session_.state() == SessionState::kShutdown) {
    logger_.info("the run ends: " + session_.reason() + ", exit_code=" + std::to_string(session_.exit_code()));
    return session_.exit_code();
  }
  if (session_.state() == SessionState::kLost) {
    logger_.error("lost the hub: " + session_.reason() + "; start this actor again when the hub is back");
    return kStoppedExitCode;
  }
  if (session_.state() != SessionState::kReady) return std::nullopt;
  take_weights();
  start_leases();
  generate();
  send_due();
  report();
  return std::nullopt;
}

/// Takes what has arrived; waits only where nothing else is to be done, and not long where weights are on their way.
void ActorLoop::receive_frames() {
  const std::int64_t idle_ms = subscriber_ && subscriber_->coming() ? 1 : kIdlePollMs;
  for (int i = 0; i < kFramesPerTurn; ++i) {
    const bool wait = i == 0 && !(busy() && session_.state() == SessionState::kReady) && outbox_.empty();
    const std::optional<std::string> frame = session_.poll(Deadline::after_ms(wait ? idle_ms : 0));
    if (session_.state() == SessionState::kReady && session_.registration() != registration_) register_with_hub();
    if (!frame) return;
    try {
      handle(*frame);
    } catch (const ProtocolError& error) {
      ++refused_frames_;
      logger_.warning(std::string("refused a frame of the hub: ") + error.what() + ", refused=" + std::to_string(refused_frames_));
    }
  }
}

void ActorLoop::register_with_hub() {
  const Welcome& welcome = session_.welcome();
  const bool same_hub = registration_ != 0 && welcome.incarnation == incarnation_;
  registration_ = session_.registration();
  incarnation_ = welcome.incarnation;
  run_ = parse_config(welcome.config, "the hub's configuration", {});
  drop_work("registered again");
  outbox_.clear();
  if (!same_hub) results_.clear();  // an older incarnation's leases are void
  results_.send_again();
  if (subscriber_) subscriber_->restart(!same_hub);
  if (!same_hub) first_manifest_.reset();
  manifest_asked_ms_ = 0;

  const std::int64_t group = run_.group.size;
  const std::int64_t groups = (options_.local.actors.slots + group - 1) / group + 1;  // all slots, and one in reserve
  outbox_.push_back(encode(Credit{static_cast<std::uint32_t>(groups)}));
}

/// Ends everything that is in work; its leases are void.
void ActorLoop::drop_work(const std::string& why) {
  if (!leases_.empty()) logger_.info("dropping leases=" + std::to_string(leases_.size()) + ": " + why);
  for (const auto& [id, open] : leases_) {
    if (open.submitted) engine_->cancel(id);
  }
  leases_.clear();
}

void ActorLoop::handle(const std::string& frame) {
  const auto bytes = bytes_of(frame);
  switch (frame_type(bytes)) {
    case MessageType::kLease:
      return on_lease(decode<Lease>(bytes));
    case MessageType::kWeightManifest:
      return on_manifest(decode<WeightManifest>(bytes));
    case MessageType::kWeightChunk:
      if (subscriber_) subscriber_->receive(decode<WeightChunk>(bytes));
      return;
    case MessageType::kWeightGroup:
      if (subscriber_) subscriber_->join(decode<WeightGroup>(bytes));
      return;
    case MessageType::kWeightBroadcast:
      if (subscriber_) subscriber_->expect(decode<WeightBroadcast>(bytes));
      return;
    case MessageType::kAccepted:
      results_.erase(decode<Accepted>(bytes).lease_id);
      return;
    case MessageType::kRevoke:
      for (const std::uint64_t id : decode<Revoke>(bytes).lease_ids) {
        results_.erase(id);
        if (leases_.erase(id) > 0 && engine_) engine_->cancel(id);
      }
      return;
    default:
      throw ProtocolError(std::string("expected a message for an actor, found ") + name_of(frame_type(bytes)));
  }
}

void ActorLoop::on_lease(Lease lease) {
  const std::string name = "lease " + std::to_string(lease.lease_id);
  if (lease.incarnation != incarnation_) {
    throw ProtocolError(name + ": expected incarnation " + std::to_string(incarnation_) + ", found " + std::to_string(lease.incarnation));
  }
  if (leases_.contains(lease.lease_id) || results_.contains(lease.lease_id)) throw ProtocolError(name + ": given twice");
  const std::uint64_t id = lease.lease_id;
  fault::point("actor.lease");
  leases_.emplace(id, OpenLease{std::move(lease), clock_.now_ms(), false});
}

void ActorLoop::on_manifest(const WeightManifest& manifest) {
  if (subscriber_) return subscriber_->offer(manifest);
  if (!first_manifest_ || first_manifest_->version < manifest.version) first_manifest_ = manifest;
}

/// The hub has weights: the model and the device that they are for. Those for several GPUs come to lie in the host's memory.
void ActorLoop::begin_weights(const WeightManifest& first) {
  const bool hub_on_this_host = session_.welcome().host == options_.hello.host;
  const int gpus = run_.actors.tensor_parallel;
  const std::int64_t gpu = first_gpu(options_.hello.rank, options_.local_rank, hub_on_this_host ? run_.learners.count : 0, gpus);
  const at::ScalarType dtype = first.dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  device_ = compute_device(options_.local.actors.device, "actors.device", dtype, gpu);
  model_ = options_.load_model(session_.welcome());
  SubscriberOptions options;
  options.architecture = model_->architecture;
  options.path = weight_path_named(options_.local.actors.weights);
  options.hub_on_this_host = hub_on_this_host;
  options.retry_s = options_.local.deadline.heartbeat_s;
  options.device = gpus == 1 ? device_ : at::kCPU;
  options.gpu = gpu_name(options.device);
  options.join = [device = options.device, deadline_s = options.retry_s](const BroadcastPlace& place) {
    return join_broadcast_group(place, device, deadline_s);
  };
  subscriber_.emplace(options, clock_, logger_);
  subscriber_->offer(first);
}

void ActorLoop::take_weights() {
  if (!subscriber_ && first_manifest_) {
    begin_weights(*first_manifest_);
    first_manifest_.reset();
  }
  if (!subscriber_) {
    const auto retry_ms = static_cast<std::int64_t>(options_.local.deadline.heartbeat_s * 1000);
    if (manifest_asked_ms_ != 0 && clock_.now_ms() - manifest_asked_ms_ < retry_ms) return;
    manifest_asked_ms_ = clock_.now_ms();
    outbox_.push_back(encode(ManifestRequest{0, true}));
    return;
  }
  const auto begin = std::chrono::steady_clock::now();
  if (std::optional<ArrivedWeights> weights = subscriber_->take()) {
    logger_.debug("new weights, version=" + std::to_string(weights->version) + " by=" + weights->path);
    fault::point("actor.weights");
    const bool generating = engine_.has_value();
    use(std::move(*weights));
    version_stall_s_ = generating ? stall_s_ + seconds_since(begin) : 0;
    stall_s_ = 0;
  } else {
    stall_s_ += seconds_since(begin);
  }
  if (std::optional<std::string> frame = subscriber_->due_frame()) outbox_.push_back(std::move(*frame));
}

void ActorLoop::use(ArrivedWeights weights) {
  if (engine_) return engine_->set_weights(std::move(weights.parameters), weights.version);
  const EngineOptions options = engine_options(options_.local, run_, model_->tokenizer, device_);
  engine_.emplace(std::move(weights.parameters), weights.version, options);
  logger_.info("ready, weights version=" + std::to_string(engine_->version()) + " slots=" + std::to_string(options.slots) +
               " device=" + (options.on_gpu ? "cuda" : "cpu"));
}

/// Hands the engine the leases whose weights are here, in the order of their numbers.
void ActorLoop::start_leases() {
  if (!engine_ || !subscriber_->held()) return;
  const std::uint64_t version = *subscriber_->held();
  for (auto next = leases_.begin(); next != leases_.end();) {
    const auto current = next++;
    OpenLease& open = current->second;
    const Lease& lease = open.lease;
    if (open.submitted || lease.policy_version > version) continue;
    const bool only_its_version = lease.purpose == Purpose::kEvaluate || run_.run.max_lag == 0;
    try {
      if (only_its_version && lease.policy_version < version) {
        throw ConfigError("policy_version = " + std::to_string(lease.policy_version) + ": this actor has version " + std::to_string(version));
      }
      engine_->submit({lease.lease_id, lease.prompt_ids, lease.samples, lease.sampling, lease.seed, lease.group});
      open.submitted = true;
    } catch (const ConfigError& error) {
      logger_.warning("declined lease=" + std::to_string(lease.lease_id) + ": " + error.what());
      outbox_.push_back(encode(Refusal{error.what(), false, lease.lease_id}));
      leases_.erase(current);
    }
  }
}

void ActorLoop::generate() {
  if (!busy()) return;
  fault::point("actor.generate");
  for (FinishedRequest& finished : engine_->step()) hand_over(std::move(finished));
}

void ActorLoop::hand_over(FinishedRequest finished) {
  const auto found = leases_.find(finished.id);
  check(found != leases_.end(), "ActorLoop: a finished request without a lease");
  const Lease& lease = found->second.lease;
  const std::int64_t now_ms = clock_.now_ms();

  RolloutGroup group;
  group.lease_id = lease.lease_id;
  group.incarnation = lease.incarnation;
  group.group = lease.group;
  group.purpose = lease.purpose;
  group.completions = std::move(finished.completions);
  group.generate_s = static_cast<double>(now_ms - found->second.since_ms) / 1000.0;

  std::uint64_t tokens = 0;
  for (Completion& completion : group.completions) {
    tokens += completion.token_ids.size();
    completion.text = completion_text(completion, lease.sampling, model_->tokenizer);
  }
  leases_.erase(found);
  results_.add(group.lease_id, encode(group), tokens, now_ms);
  ++groups_done_;
}

void ActorLoop::send_due() {
  for (; !outbox_.empty(); outbox_.pop_front()) {
    if (!send_now(outbox_.front())) return;
  }
  const auto send = [this](const std::string& frame) { return send_now(frame); };
  results_.send_due(send, clock_.now_ms(), static_cast<std::int64_t>(run_.deadline.lease_s * 1000), logger_);
}

Heartbeat ActorLoop::heartbeat() {
  Heartbeat beat;
  for (const auto& [id, result] : results_.all()) beat.leases.push_back({id, result.tokens});
  for (const auto& [id, open] : leases_) beat.leases.push_back({id, open.submitted ? engine_->tokens_of(id) : 0});
  if (!engine_) return beat;
  beat.policy_version = engine_->version();
  beat.weights_stall_s = version_stall_s_;
  const std::int64_t now_ms = clock_.now_ms();
  const std::uint64_t tokens = engine_->stats().drawn_tokens;
  if (now_ms > beat_ms_) {
    beat.tokens_per_s = static_cast<double>(tokens - beat_tokens_) * 1000.0 / static_cast<double>(now_ms - beat_ms_);
  }
  beat_ms_ = now_ms;
  beat_tokens_ = tokens;
  return beat;
}

std::string ActorLoop::waiting_for() const {
  if (!subscriber_) return "the hub's first weights";
  if (!subscriber_->held()) return subscriber_->waiting_for();
  if (!leases_.empty()) {
    return "weights version " + std::to_string(leases_.begin()->second.lease.policy_version) + ", which lease " +
           std::to_string(leases_.begin()->first) + " asks for";
  }
  return results_.all().empty() ? "a lease from the hub" : "the hub to accept " + std::to_string(results_.all().size()) + " results";
}

/// Now and then what it does, or what it waits for.
void ActorLoop::report() {
  const std::int64_t now_ms = clock_.now_ms();
  if (now_ms - report_ms_ < kReportMs) return;
  const std::uint64_t tokens = engine_ ? engine_->stats().drawn_tokens : 0;
  const auto rate = (tokens - report_tokens_) * 1000 / static_cast<std::uint64_t>(now_ms - report_ms_);
  if (busy()) {
    logger_.info("generating tokens_per_s=" + std::to_string(rate) + " active=" + std::to_string(engine_->active()) +
                 "/" + std::to_string(options_.local.actors.slots) + " leases=" + std::to_string(leases_.size()) +
                 " groups_done=" + std::to_string(groups_done_) + " version=" + std::to_string(engine_->version()));
  } else {
    logger_.info("waiting for " + waiting_for() + ", groups_done=" + std::to_string(groups_done_));
  }
  report_ms_ = now_ms;
  report_tokens_ = tokens;
}

}  // namespace

int run_actor(const ActorOptions& options, const Logger& logger) { return ActorLoop(options, logger).run(); }

}  // namespace troupe
