#include "launch/report_charts.h"

#include <algorithm>
#include <string_view>

#include "common/base/metric_names.h"
#include "learner/hub/ledger.h"

namespace troupe {
namespace {

using nlohmann::json;

/// The metrics that share a chart.
struct ChartPlan {
  std::string_view title;
  std::vector<std::string_view> metrics;
};

const std::vector<ChartPlan>& chart_plans() {
  using namespace metric;
  static const std::vector<ChartPlan> plans = {
      {"Reward", {kReward, kHeldOutReward}},
      {"Rewards of a step", {kRewardMin, kRewardMax}},
      {"Accuracy", {kAccuracy, kHeldOutAccuracy, kFormat}},
      {"Completion length", {kLengthMean, kLengthMax}},
      {"KL to the reference", {kKl}},
      {"Entropy", {kEntropy}},
      {"Throughput", {kTokensPerS}},
      {"Lost signal", {kZeroVarianceShare, kCutOffShare, kClipShare}},
      {"Not learning", {kNotLearning}},
      {"Weights changed by a step", {kWeightsChanged}},
      {"Loss", {kLoss}},
      {"Gradient norm", {kGradNorm}},
      {"Learning rate", {kLr}},
      {"Trainer against sampler", {kRatioMeanAbsLog, kRatioMaxAbsLog}},
      {"Effective sample size", {kRatioEffectiveShare}},
      {"Time of a step", {kStepS, kWaitS, kTrainS, kCollectiveWaitS, kPublishS}},
      {"Queues", {kQueueLeased, kQueueScoring, kQueueScored}},
      {"Lag", {kLagMean, kLagMax}},
      {"Sum over the run", {kTokensGenerated, kTokensTrained}},
  };
  return plans;
}

/// Held-out points at the versions that were evaluated, the last one included, which no step of metrics.jsonl starts from.
void take_evaluations(const RunFolder& folder, Curves& curves) {
  if (!std::filesystem::exists(folder.ledger())) return;
  const LedgerState state = read_ledger(folder.ledger());
  if (state.evaluations.empty()) return;
  Points& accuracy = curves[std::string(metric::kHeldOutAccuracy)];
  Points& reward = curves[std::string(metric::kHeldOutReward)];
  accuracy.clear();
  reward.clear();
  for (const Evaluated& evaluated : state.evaluations) {
    accuracy.emplace_back(static_cast<std::int64_t>(evaluated.version), evaluated.accuracy);
    reward.emplace_back(static_cast<std::int64_t>(evaluated.version), evaluated.mean_reward);
  }
}

json chart_of(std::string_view title, const std::vector<std::string_view>& names, const Curves& curves) {
  json series = json::array();
  std::string_view unit;
  for (const std::string_view name : names) {
    const auto found = curves.find(name);
    if (found == curves.end()) continue;
    const MetricInfo info = metric_info(name);
    unit = info.unit;
    series.push_back({{"name", name}, {"meaning", info.meaning}, {"points", found->second}});
  }
  return {{"title", title}, {"unit", unit}, {"share", unit == "share"}, {"series", series}};
}

}  // namespace

Curves curves_of(const std::vector<MetricsLine>& lines, const RunFolder& folder) {
  Curves curves;
  for (const MetricsLine& line : lines) {
    for (const auto& [name, value] : line.values) curves[name].emplace_back(line.step, value);
  }
  take_evaluations(folder, curves);
  return curves;
}

json charts_of(const Curves& curves) {
  json charts = json::array();
  std::vector<std::string_view> planned;
  for (const ChartPlan& plan : chart_plans()) {
    planned.insert(planned.end(), plan.metrics.begin(), plan.metrics.end());
    json chart = chart_of(plan.title, plan.metrics, curves);
    if (!chart["series"].empty()) charts.push_back(std::move(chart));
  }
  for (const auto& [name, unused] : curves) {
    if (std::find(planned.begin(), planned.end(), name) == planned.end())
      charts.push_back(chart_of(name, {name}, curves));
  }
  return charts;
}

}  // namespace troupe
