// Weights from a learner to an actor that generates all the while, by each way that they can go: how long the learner publishes, how soon
// the actor has a version, and how long its generation stands still for it.
//   weights_bench [--model 0.5B|1.5B|small] [--device cpu|cuda] [--versions N]
// With two GPUs the learner has the first and the actor the second. Prints one JSON line a way.

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <future>
#include <iostream>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <ATen/Context.h>
#include <ATen/Functions.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "actors/engine.h"
#include "actors/weight_subscriber.h"
#include "common/base/error.h"
#include "common/messages/frame.h"
#include "common/transport/channel.h"
#include "learner/publisher.h"
#include "learner/stages/weight_broadcaster.h"
#include "tests/bench/bench_line.h"
#include "tests/bench/bench_models.h"

using namespace troupe;

namespace {

constexpr double kLinkGbPerS = 394;  // what a copy moves between two H200s
constexpr double kDeadlineS = 30;

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Setting {
  Architecture architecture;
  at::Device learner = at::kCPU, actor = at::kCPU;
  WeightPath path = WeightPath::kStream;
  int versions = 0;
};

/// An actor without a hub: its messages are put into its queue.
class Actor {
 public:
  explicit Actor(const Setting& setting) : setting_(setting), thread_([this] { run(); }) {}
  ~Actor() { stop(); }
  /// Ends it; its figures can be read then.
  void stop() {
    leaving_ = true;
    if (thread_.joinable()) thread_.join();
  }
  void tell(std::function<void(WeightSubscriber&)> message) {
    const std::lock_guard lock(mutex_);
    messages_.push_back(std::move(message));
  }
  /// Where the stream's buckets are.
  void serve(const PublishedWeights* published) { published_ = published; }
  /// Waits for the version to be in use.
  void wait_for(std::uint64_t version) const {
    const Deadline deadline = Deadline::after_s(kDeadlineS);
    while (version_ < static_cast<std::int64_t>(version)) {
      check(!deadline.expired(), "weights version " + std::to_string(version) + " did not come");
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  std::vector<double> stall_ms, step_ms, meanwhile_ms;
  std::map<std::string, int> ways;
  at::Tensor newest;
  std::atomic<double> arrived_s = 0;
  std::atomic<bool> coming = false;

 private:
  void run() {
    const c10::OptionalDeviceGuard guard(setting_.actor);
    SubscriberOptions options{setting_.architecture, setting_.path, true, kDeadlineS, setting_.actor, gpu_name(setting_.actor),
                              [this](const BroadcastPlace& place) { return join_broadcast_group(place, setting_.actor, kDeadlineS); }};
    WeightSubscriber subscriber(options, clock_, Logger("actor", LogLevel::kWarning));
    while (!leaving_) {
      take_messages(subscriber);
      take_weights(subscriber);
      if (!engine_) continue;
      if (engine_->idle()) submit();
      const double begin = now_s();
      engine_->step();
      (coming ? meanwhile_ms : step_ms).push_back(1e3 * (now_s() - begin));
    }
  }

  void take_messages(WeightSubscriber& subscriber) {
    std::deque<std::function<void(WeightSubscriber&)>> messages;
    {
      const std::lock_guard lock(mutex_);
      messages.swap(messages_);
    }
    for (const auto& message : messages) message(subscriber);
  }

  void take_weights(WeightSubscriber& subscriber) {
    const double begin = now_s();
    std::optional<ArrivedWeights> weights = subscriber.take();
    if (weights) {
      ++ways[weights->path];
      newest = weights->parameters.flat();
      const auto version = weights->version;
      use(std::move(*weights));
      arrived_s = now_s();
      stall_ms.push_back(stalled_ms_ + 1e3 * (arrived_s - begin));
      stalled_ms_ = 0;
      version_ = static_cast<std::int64_t>(version);
    } else {
      stalled_ms_ += 1e3 * (now_s() - begin);
    }
    const std::optional<std::string> frame = subscriber.due_frame();
    if (!frame || published_ == nullptr || frame_type(bytes_of(*frame)) != MessageType::kChunkRequest) return;
    const auto request = decode<ChunkRequest>(bytes_of(*frame));
    const std::uint64_t size = published_.load()->manifest.bucket_bytes;
    subscriber.receive({request.version, request.bucket, false, std::string(published_.load()->bytes.substr(request.bucket * size, size))});
  }

  void use(ArrivedWeights weights) {
    if (engine_) return engine_->set_weights(std::move(weights.parameters), weights.version);
    EngineOptions options;
    options.on_gpu = setting_.actor.is_cuda();
    options.slots = options.on_gpu ? 256 : 16;
    options.max_tokens = 512;
    options.kv_memory_gib = options.on_gpu ? 8 : 1;
    options.on_new_weights = OnNewWeights::kKeep;  // the cost of caches that are made anew is not that of the weights
    engine_.emplace(std::move(weights.parameters), weights.version, options);
    stalled_ms_ = 0;
  }

  void submit() {
    for (std::uint64_t id = 0; id < (setting_.actor.is_cuda() ? 256U : 16U); ++id) {
      Request request;
      request.id = request.group = id;
      request.prompt_ids = {1, 2, 3, static_cast<std::int32_t>(id % 100)};
      request.samples = 1;
      request.sampling.max_tokens = 500;
      engine_->submit(std::move(request));
    }
  }

  const Setting& setting_;
  SteadyClock clock_;
  std::mutex mutex_;
  std::deque<std::function<void(WeightSubscriber&)>> messages_;
  std::atomic<const PublishedWeights*> published_ = nullptr;
  std::atomic<std::int64_t> version_ = -1;
  std::atomic<bool> leaving_ = false;
  std::optional<Engine> engine_;
  double stalled_ms_ = 0;
  std::thread thread_;  // last: it uses all of the above
};

WeightBroadcaster broadcaster_to(Actor& actor, const Setting& setting) {
  WeightBroadcaster::Options options;
  if (setting.path == WeightPath::kNccl) options.gpu = gpu_name(setting.learner);
  options.takers = [gpu = gpu_name(setting.actor)] { return std::vector<WeightTaker>{{"actor", "the actor", gpu, 1}}; };
  options.tell = [&actor](const PeerId&, const std::string& frame) {
    actor.tell([frame](WeightSubscriber& subscriber) {
      if (frame_type(bytes_of(frame)) == MessageType::kWeightGroup) return subscriber.join(decode<WeightGroup>(bytes_of(frame)));
      subscriber.expect(decode<WeightBroadcast>(bytes_of(frame)));
    });
  };
  options.new_id = new_broadcast_id;
  options.join = [device = setting.learner](const BroadcastPlace& place) { return join_broadcast_group(place, device, kDeadlineS); };
  return {std::move(options), Logger("learner", LogLevel::kWarning)};
}

void measure(const Setting& setting, const std::string& model, const std::string& way) {
  Parameters parameters(setting.architecture, setting.learner.is_cuda() ? at::kBFloat16 : at::kFloat, setting.learner);
  Publisher publisher("weights-bench-" + std::to_string(::getpid()), Logger("learner", LogLevel::kWarning));
  Actor actor(setting);
  WeightBroadcaster broadcaster = broadcaster_to(actor, setting);
  std::vector<double> publish_ms, arrive_ms;
  std::vector<PublishedWeights> shelf;
  constexpr int kWarm = 4;  // memory is made, the group is formed
  for (int version = 0; version < kWarm + setting.versions; ++version) {
    parameters.flat().normal_(0, 0.02);
    if (version == kWarm) std::this_thread::sleep_for(std::chrono::seconds(2));
    if (version >= kWarm) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    if (setting.learner.is_cuda()) c10::impl::VirtualGuardImpl(at::kCUDA).synchronizeDevice(setting.learner.index());
    actor.coming = version >= kWarm;
    const double begin = now_s();
    const std::future<void> sending = broadcaster.send(parameters.flat(), static_cast<std::uint64_t>(version));
    PublishedWeights published = publisher.publish(parameters, static_cast<std::uint64_t>(version));
    shelf.push_back(published);
    if (shelf.size() > 2) shelf.erase(shelf.begin());
    actor.serve(&published);
    actor.tell([manifest = published.manifest](WeightSubscriber& subscriber) { subscriber.offer(manifest); });
    sending.wait();
    const double published_s = now_s();
    if (version >= kWarm) publish_ms.push_back(1e3 * (published_s - begin));
    actor.wait_for(static_cast<std::uint64_t>(version));
    actor.coming = false;
    actor.serve(nullptr);
    if (version >= kWarm) arrive_ms.push_back(1e3 * (actor.arrived_s - published_s));
  }
  check(at::equal(actor.newest.cpu(), parameters.flat().cpu()), "what came is not what was published");
  actor.stop();
  const double gigabytes = static_cast<double>(parameters.flat().nbytes()) / 1e9;
  actor.stall_ms.erase(actor.stall_ms.begin(), actor.stall_ms.begin() + kWarm);
  nlohmann::ordered_json line = {{"bench", "weights"}, {"path", way}, {"model", model}, {"gigabytes", gigabytes},
                                 {"publish_ms", bench::percentiles(publish_ms)}, {"arrive_ms", bench::percentiles(arrive_ms)},
                                 {"stall_ms", bench::percentiles(actor.stall_ms)}, {"step_ms", bench::percentiles(actor.step_ms)},
                                 {"step_meanwhile_ms", bench::percentiles(actor.meanwhile_ms)}, {"came_by", actor.ways},
                                 {"gpus", at::globalContext().hasCUDA() ? at::getNumGPUs() : 0}};
  std::cout << bench::with_origin(line).dump() << std::endl;
}

/// What a broadcast alone moves, with nobody late.
void measure_link(const Setting& setting, const std::string& model) {
  const std::string id = new_broadcast_id();
  const auto member = [&](int rank, at::Device device, std::vector<double>& took_ms) {
    const c10::OptionalDeviceGuard guard(device);
    const at::Tensor flat = at::zeros({ParameterLayout(setting.architecture).total}, at::TensorOptions(at::kBFloat16).device(device));
    const std::unique_ptr<BroadcastGroup> group = join_broadcast_group({id, rank, 2}, device, kDeadlineS);
    for (int i = 0; i < 30; ++i) {
      const double begin = now_s();
      group->broadcast(flat);
      if (i >= 10) took_ms.push_back(1e3 * (now_s() - begin));
    }
  };
  std::vector<double> root_ms, member_ms;
  std::thread other([&] { member(1, setting.actor, member_ms); });
  member(0, setting.learner, root_ms);
  other.join();
  const double gigabytes = static_cast<double>(ParameterLayout(setting.architecture).total) * 2 / 1e9;
  nlohmann::ordered_json line = {{"bench", "weights_broadcast"}, {"model", model}, {"gigabytes", gigabytes}, {"broadcast_ms", bench::percentiles(member_ms)}};
  const double rate = gigabytes / (line["broadcast_ms"]["median"].get<double>() / 1e3);
  line["gb_per_s"] = rate;
  line["share_of_link"] = rate / kLinkGbPerS;
  std::cout << bench::with_origin(line).dump() << std::endl;
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> given = {{"--model", "0.5B"}, {"--device", "cuda"}, {"--versions", "10"}};
  for (int i = 1; i + 1 < argc; i += 2) given[argv[i]] = argv[i + 1];
  Setting setting;
  const std::string model = given["--model"];
  setting.architecture = model == "small" ? bench::small_model() : model == "1.5B" ? bench::qwen25_15b() : bench::qwen25_05b();
  setting.versions = std::stoi(given["--versions"]);
  const bool on_gpu = given["--device"] == "cuda";
  const auto gpus = on_gpu ? static_cast<std::int64_t>(at::getNumGPUs()) : 0;
  if (on_gpu) setting.learner = at::Device(at::kCUDA, 0), setting.actor = at::Device(at::kCUDA, static_cast<at::DeviceIndex>(gpus - 1));
  std::map<std::string, WeightPath> ways = {{"shm", WeightPath::kSharedMemory}, {"stream", WeightPath::kStream}};
  if (gpus > 1) ways["nccl"] = WeightPath::kNccl;
  for (const auto& [way, path] : ways) {
    setting.path = path;
    measure(setting, model, way);
  }
  if (gpus > 1) measure_link(setting, model);
  return 0;
}
