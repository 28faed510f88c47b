#include "learner/objective/trajectory.h"

#include <bit>
#include <cstring>
#include <set>
#include <type_traits>
#include <utility>

#include "common/base/error.h"

namespace troupe {

namespace {

static_assert(std::endian::native == std::endian::little, "plans are copied as they lie in memory");

constexpr std::uint32_t kPlanFormat = 0x31505354;  // "TSP1"

class Writer {
 public:
  template <class T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <class T>
  void numbers(const std::vector<T>& values) {
    number(static_cast<std::uint64_t>(values.size()));
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(const std::string& bytes) : bytes_(bytes) {}

  template <class T>
  T number(const char* what) {
    need(sizeof(T), what);
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  // A count of things of at least `item_bytes` each.
  std::size_t count(std::size_t item_bytes, const char* what) {
    const auto items = number<std::uint64_t>(what);
    if (items > (bytes_.size() - at_) / item_bytes) fail(what, std::to_string(items) + " items");
    return static_cast<std::size_t>(items);
  }
  template <class T>
  std::vector<T> numbers(const char* what) {
    std::vector<T> values(count(sizeof(T), what));
    if (!values.empty()) std::memcpy(values.data(), bytes_.data() + at_, values.size() * sizeof(T));
    at_ += values.size() * sizeof(T);
    return values;
  }
  void expect_end() const {
    if (at_ != bytes_.size()) fail("the end", std::to_string(bytes_.size() - at_) + " bytes more");
  }
  [[noreturn]] void fail(const char* what, const std::string& found) const {
    throw ProtocolError("step plan at byte " + std::to_string(at_) + " of " + std::to_string(bytes_.size()) +
                        ": expected " + what + ", found " + found);
  }

 private:
  void need(std::size_t size, const char* what) const {
    if (bytes_.size() - at_ < size) fail(what, "the end");
  }

  const std::string& bytes_;
  std::size_t at_ = 0;
};

void write_versions(Writer& out, const std::vector<std::uint64_t>& versions) {
  std::vector<std::uint64_t> runs;  // version, length, version, length …
  for (const std::uint64_t version : versions) {
    if (runs.empty() || runs[runs.size() - 2] != version) runs.insert(runs.end(), {version, 0});
    ++runs.back();
  }
  out.numbers(runs);
}

std::vector<std::uint64_t> read_versions(Reader& in, std::size_t tokens) {
  const std::vector<std::uint64_t> runs = in.numbers<std::uint64_t>("version runs");
  if (runs.size() % 2 != 0) in.fail("version runs in pairs", std::to_string(runs.size()) + " numbers");
  std::vector<std::uint64_t> versions;
  for (std::size_t i = 0; i < runs.size(); i += 2) {
    if (runs[i + 1] > tokens - versions.size()) in.fail("a version for each token", "more");
    versions.insert(versions.end(), static_cast<std::size_t>(runs[i + 1]), runs[i]);
  }
  if (versions.size() != tokens) in.fail("a version for each token", std::to_string(versions.size()));
  return versions;
}

void write_trajectory(Writer& out, const Trajectory& trajectory) {
  check(trajectory.versions.size() == static_cast<std::size_t>(trajectory.completion_tokens()) &&
            trajectory.sampler_logprobs.size() == trajectory.versions.size(),
        "a trajectory has a log-probability and a version for each completion token");
  out.number(trajectory.group);
  out.number(trajectory.sample);
  out.number(static_cast<std::uint8_t>(trajectory.cut_off));
  out.number(trajectory.reward);
  out.number(trajectory.advantage);
  out.number(trajectory.prompt_tokens);
  out.numbers(trajectory.ids);
  out.numbers(trajectory.sampler_logprobs);
  write_versions(out, trajectory.versions);
}
// Of the fixed fields and the three counts.
constexpr std::size_t kTrajectoryBytes = 8 + 4 + 1 + 8 + 8 + 8 + 3 * 8;

Trajectory read_trajectory(Reader& in) {
  Trajectory trajectory;
  trajectory.group = in.number<std::uint64_t>("a group number");
  trajectory.sample = in.number<std::uint32_t>("a sample number");
  const auto cut_off = in.number<std::uint8_t>("the cut-off flag");
  if (cut_off > 1) in.fail("0 or 1", std::to_string(cut_off));
  trajectory.cut_off = cut_off == 1;
  trajectory.reward = in.number<double>("a reward");
  trajectory.advantage = in.number<double>("an advantage");
  trajectory.prompt_tokens = in.number<std::int64_t>("a prompt length");
  trajectory.ids = in.numbers<std::int32_t>("token ids");
  if (trajectory.prompt_tokens < 0 || trajectory.completion_tokens() < 0) {
    in.fail("a prompt within the ids",
            std::to_string(trajectory.prompt_tokens) + " of " + std::to_string(trajectory.ids.size()));
  }
  const auto tokens = static_cast<std::size_t>(trajectory.completion_tokens());
  trajectory.sampler_logprobs = in.numbers<float>("log-probabilities");
  if (trajectory.sampler_logprobs.size() != tokens) {
    in.fail("a log-probability for each token", std::to_string(trajectory.sampler_logprobs.size()));
  }
  trajectory.versions = read_versions(in, tokens);
  return trajectory;
}

}  // namespace

std::vector<std::span<const Trajectory>> first_micro_batches(const StepPlan& plan) {
  std::vector<std::span<const Trajectory>> first;
  std::set<std::pair<std::uint64_t, std::uint32_t>> seen;
  for (const UpdateShard& update : plan.updates) {
    for (const std::vector<Trajectory>& micro_batch : update.micro_batches) {
      if (micro_batch.empty() || seen.contains({micro_batch.front().group, micro_batch.front().sample})) continue;
      first.push_back(micro_batch);
      for (const Trajectory& trajectory : micro_batch) seen.insert({trajectory.group, trajectory.sample});
    }
  }
  return first;
}

std::string encode_step_plan(const StepPlan& plan) {
  Writer out;
  out.number(kPlanFormat);
  out.number(plan.step);
  out.number(static_cast<std::uint64_t>(plan.updates.size()));
  for (const UpdateShard& update : plan.updates) {
    out.number(update.global_sequences);
    out.number(update.global_tokens);
    out.number(static_cast<std::uint64_t>(update.micro_batches.size()));
    for (const auto& micro_batch : update.micro_batches) {
      out.number(static_cast<std::uint64_t>(micro_batch.size()));
      for (const Trajectory& trajectory : micro_batch) write_trajectory(out, trajectory);
    }
  }
  return out.take();
}

StepPlan decode_step_plan(const std::string& bytes) {
  Reader in(bytes);
  const auto format = in.number<std::uint32_t>("the format");
  if (format != kPlanFormat) in.fail("format TSP1", std::to_string(format));
  StepPlan plan;
  plan.step = in.number<std::int64_t>("a step");
  plan.updates.resize(in.count(3 * 8, "updates"));
  for (UpdateShard& update : plan.updates) {
    update.global_sequences = in.number<std::int64_t>("sequences of the update");
    update.global_tokens = in.number<std::int64_t>("tokens of the update");
    if (update.global_sequences < 0 || update.global_tokens < 0) in.fail("counts of the update", "a negative one");
    update.micro_batches.resize(in.count(8, "micro-batches"));
    for (auto& micro_batch : update.micro_batches) {
      const std::size_t size = in.count(kTrajectoryBytes, "trajectories");
      for (std::size_t i = 0; i < size; ++i) micro_batch.push_back(read_trajectory(in));
    }
  }
  in.expect_end();
  return plan;
}

}  // namespace troupe
