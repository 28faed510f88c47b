#include <sys/resource.h>

#include <algorithm>

#include "common/base/error.h"
#include "common/reward_model/scored_text.h"
#include "rewarders/model/served_model.h"
#include "rewarders/reward_kinds.h"

namespace troupe {
namespace {

/// A verifier's memory is limited; a model's weights come on top. A GPU's driver takes addresses for all memory that there is.
void raise_memory_limit(std::uint64_t bytes, bool gpu) {
  rlimit limit{};
  getrlimit(RLIMIT_AS, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return;
  limit.rlim_cur = gpu ? limit.rlim_max : std::min<rlim_t>(limit.rlim_max, limit.rlim_cur + bytes);
  setrlimit(RLIMIT_AS, &limit);
}

class ModelReward final : public Reward {
 public:
  ModelReward(std::string path, bool reads_summary, std::string dtype, std::string device, int threads, double time_s)
      : path_(std::move(path)),
        reads_summary_(reads_summary),
        dtype_(std::move(dtype)),
        device_(std::move(device)),
        threads_(threads),
        time_s_(time_s) {
    ServedModel::check(path_);
  }

  std::string prepare() override {
    raise_memory_limit(ServedModel::memory_bytes(path_), device_ == "cuda" || (device_ == "auto" && dtype_ == "bf16"));
    model_ = std::make_unique<const ServedModel>(path_, dtype_, device_, threads_);
    return "reward model " + path_ + " in " + dtype_ + " on " + model_->device();
  }
  double extra_s() const override { return time_s_; }
  bool batches() const override { return true; }

  Grade grade(const GradedItem& item) const override { return grade_all(std::span(&item, 1)).front(); }

  std::vector<Grade> grade_all(std::span<const GradedItem> items) const override {
    std::vector<ResponseToScore> responses;
    for (const GradedItem& item : items) {
      responses.push_back({item.row, reads_summary_ ? std::string(summary_of(item.completion)) : item.completion});
    }
    const std::vector<std::optional<double>> scores = model_->scores(responses);
    std::vector<Grade> grades;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      grades.push_back({scores[i], !scores[i] ? "verifier_failed" : responses[i].response.empty() ? "no_answer" : "ok"});
    }
    return grades;
  }

 private:
  std::string path_;
  bool reads_summary_;
  std::string dtype_;
  std::string device_;
  int threads_;
  double time_s_;
  std::unique_ptr<const ServedModel> model_;
};

}  // namespace

std::unique_ptr<Reward> make_model(RewardParameters& parameters) {
  const std::string path = parameters.text("path", "");
  if (path.empty()) throw ConfigError("a reward of kind model needs the key `path`, the folder of a reward model");
  const std::string reads = parameters.choice("reads", "response", {"response", "summary"});
  const std::string device = parameters.choice("device", "auto", {"auto", "cpu", "cuda"});
  const std::string dtype = parameters.choice("dtype", device == "cuda" ? "bf16" : "fp32", {"fp32", "bf16"});
  if (device == "cuda" && dtype != "bf16") throw ConfigError("reward model " + path + " with device = cuda: expected dtype = bf16, found " + dtype);
  const int threads = static_cast<int>(parameters.number("threads", 1, 1, 1024));
  return std::make_unique<ModelReward>(path, reads == "summary", dtype, device, threads, parameters.number("time_s", 60, 0.01, 3600));
}

}  // namespace troupe
