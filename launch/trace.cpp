#include "launch/trace.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "common/base/files.h"
#include "common/base/metric_names.h"
#include "common/config/run_folder.h"

namespace troupe {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostEvents = 200000;  // what a browser still opens with ease
constexpr int kLearners = 0;  // their place among the processes; peers follow in the order of their first appearance

/// Turns records into events, in their order.
class Tracer {
 public:
  explicit Tracer(const std::vector<MetricsLine>& metrics) {
    for (const MetricsLine& line : metrics) steps_[line.step] = line.values;  // a step that was trained again counts as it ended
    name(kLearners, "learners");
  }

  void operator()(const RunStarted&) {}
  void operator()(const AttemptStarted& r) {
    const auto open = std::exchange(work_, {});
    for (const auto& [key, work] : open) end(work, last_us_, "the attempt ended");
    instant("attempt " + std::to_string(r.incarnation) + " after step " + std::to_string(r.from_step), at(r.unix_s));
    last_step_end_us_ = at(r.unix_s);
  }
  void operator()(const GroupLeased& r) { begin(r.purpose, r.group, r.actor, "generate", r.unix_s, {{"version", r.policy_version}, {"attempt", r.attempt}}); }
  void operator()(const LeaseLost& r) { finish(r.purpose, r.group, r.unix_s, r.reason); }
  void operator()(const GroupRolledOut& r) {
    finish(r.purpose, r.group, r.unix_s, "");
    rolled_out_us_[{r.purpose, r.group}] = at(r.unix_s);
  }
  void operator()(const GroupScored& r) {
    const auto since = rolled_out_us_.find({r.purpose, r.group});
    const std::int64_t end_us = at(r.unix_s);
    if (since == rolled_out_us_.end()) return;
    const Work work{peer(r.rewarder), next_id_++, "score " + title(r.purpose, r.group)};
    async("b", work, since->second, {{"mean_reward", r.mean_reward}});
    async("e", work, end_us, Json::object());
    rolled_out_us_.erase(since);
  }
  void operator()(const GroupRefused& r) { instant("group " + std::to_string(r.group) + " refused: " + r.reason, at(r.unix_s)); }
  void operator()(const BatchChosen&) {}
  void operator()(const StepTrained& r) {
    const std::int64_t end_us = at(r.unix_s);
    const auto values = steps_.find(r.step);
    const auto of = [&](std::string_view metric) {
      if (values == steps_.end()) return 0.0;
      const auto found = values->second.find(std::string(metric));
      return found == values->second.end() ? 0.0 : found->second;
    };
    const std::int64_t begin_us = std::max(last_step_end_us_, end_us - us(of(metric::kStepS)));
    const std::int64_t publish_us = end_us - us(of(metric::kPublishS)), waited_us = begin_us + us(of(metric::kWaitS));
    const std::int64_t train_us = std::max(waited_us, publish_us - us(of(metric::kTrainS)));
    span("step " + std::to_string(r.step), begin_us, end_us, {{"loss", r.loss}, {"grad_norm", r.grad_norm}, {"learners", r.world_size}});
    span("wait for groups", begin_us, waited_us, Json::object());
    span("train", train_us, publish_us, {{metric::kCollectiveWaitS, of(metric::kCollectiveWaitS)}});
    span("publish", publish_us, end_us, Json::object());
    for (const std::string_view metric : {metric::kReward, metric::kTokensPerS}) {
      events_.push_back({{"name", metric}, {"ph", "C"}, {"pid", kLearners}, {"ts", end_us}, {"args", {{metric, of(metric)}}}});
    }
    last_step_end_us_ = end_us;
  }
  void operator()(const Evaluated& r) { instant("version " + std::to_string(r.version) + " evaluated", last_us_); }
  void operator()(const CheckpointWritten& r) { instant("checkpoint " + r.folder, last_us_); }
  void operator()(const AttemptStopped& r) { instant("stopped: " + r.reason, at(r.unix_s)); }
  void operator()(const LogsPruned&) {}
  void operator()(const RunFinished& r) { instant("finished", at(r.unix_s)); }

  Json events() && { return std::move(events_); }

 private:
  using Key = std::pair<Purpose, std::uint64_t>;
  struct Work {  // of a peer on a group
    int process;
    std::uint64_t id;
    std::string name;
  };

  static std::int64_t us(double seconds) { return std::isfinite(seconds) ? std::llround(seconds * 1e6) : 0; }

  /// µs since the first record; remembers the time for records that have none.
  std::int64_t at(double unix_s) {
    if (!first_s_) first_s_ = unix_s;
    return last_us_ = us(unix_s - *first_s_);
  }

  static std::string title(Purpose purpose, std::uint64_t group) {
    return (purpose == Purpose::kTrain ? "group " : "held-out row ") + std::to_string(group);
  }

  int peer(const std::string& peer_name) {
    const auto [place, fresh] = peers_.try_emplace(peer_name, static_cast<int>(peers_.size()) + 1);
    if (fresh) name(place->second, peer_name);
    return place->second;
  }

  void name(int process, const std::string& text) {
    events_.push_back({{"name", "process_name"}, {"ph", "M"}, {"pid", process}, {"args", {{"name", text}}}});
    events_.push_back({{"name", "process_sort_index"}, {"ph", "M"}, {"pid", process}, {"args", {{"sort_index", process}}}});
  }

  void begin(Purpose purpose, std::uint64_t group, const std::string& who, const std::string& what, double unix_s, const Json& arguments) {
    Work work{peer(who), next_id_++, what + " " + title(purpose, group)};
    async("b", work, at(unix_s), arguments);
    work_.insert_or_assign(Key{purpose, group}, std::move(work));
  }

  void finish(Purpose purpose, std::uint64_t group, double unix_s, const std::string& lost) {
    const std::int64_t now_us = at(unix_s);
    const auto found = work_.find({purpose, group});
    if (found == work_.end()) return;  // a rewarder's lease: its work is told when it is done
    end(found->second, now_us, lost);
    work_.erase(found);
  }

  void end(const Work& work, std::int64_t now_us, const std::string& lost) {
    async("e", work, now_us, lost.empty() ? Json::object() : Json{{"lost", lost}});
  }

  void async(const char* phase, const Work& work, std::int64_t time_us, const Json& arguments) {
    events_.push_back({{"name", work.name}, {"cat", "group"}, {"ph", phase}, {"id", work.id}, {"pid", work.process}, {"tid", 0}, {"ts", time_us}, {"args", arguments}});
  }

  void span(const std::string& what, std::int64_t begin_us, std::int64_t end_us, const Json& arguments) {
    if (end_us <= begin_us) return;
    events_.push_back({{"name", what}, {"cat", "step"}, {"ph", "X"}, {"pid", kLearners}, {"tid", 0}, {"ts", begin_us}, {"dur", end_us - begin_us}, {"args", arguments}});
  }

  void instant(const std::string& what, std::int64_t time_us) {
    events_.push_back({{"name", what}, {"cat", "run"}, {"ph", "i"}, {"s", "g"}, {"pid", kLearners}, {"tid", 0}, {"ts", time_us}});
  }

  std::map<std::int64_t, std::map<std::string, double>> steps_;
  std::map<std::string, int> peers_;
  std::map<Key, Work> work_;                 // under way at actors
  std::map<Key, std::int64_t> rolled_out_us_;  // not scored yet
  std::uint64_t next_id_ = 1;
  std::optional<double> first_s_;
  std::int64_t last_us_ = 0, last_step_end_us_ = 0;
  Json events_ = Json::array();
};

}  // namespace

Json trace_events(const std::vector<LedgerRecord>& records, const std::vector<MetricsLine>& metrics) {
  Tracer tracer(metrics);
  for (const LedgerRecord& record : records) std::visit(tracer, record);
  Json events = std::move(tracer).events();
  std::size_t surplus = events.size() - std::min(events.size(), kMostEvents);
  auto& list = events.get_ref<Json::array_t&>();
  std::erase_if(list, [&](const Json& event) { return event.at("ph") != "M" && surplus > 0 && surplus-- > 0; });
  return events;
}

void write_trace(const std::filesystem::path& run_dir) {
  const RunFolder folder{run_dir};
  const Json trace = {{"displayTimeUnit", "ms"}, {"traceEvents", trace_events(read_ledger_records(folder.ledger()), read_metrics(folder.metrics()))}};
  write_file_atomically(run_dir / "trace.json", trace.dump() + "\n");
}

}  // namespace troupe
