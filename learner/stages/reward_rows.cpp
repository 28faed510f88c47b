#include "learner/stages/reward_rows.h"

#include <algorithm>

#include "common/base/error.h"

namespace troupe {
namespace {

constexpr int kReplacementTries = 1000;
constexpr int kReplacementShift = 40;  // numbers that no run reaches

/// A text, or a list of messages.
nlohmann::ordered_json response_under(const Row& row, const char* key) {
  const nlohmann::ordered_json response = in_line_order(row, key);
  if (response.is_string() || (response.is_array() && !response.empty())) return response;
  throw ConfigError(row.where + ": expected a text or a list of messages under \"" + key + "\", found " +
                    (response.is_null() ? "the keys " + keys_of(row.json) : response.dump().substr(0, 200)));
}

double sign_of(const Row& row) {
  const nlohmann::json label = row.json.value("label", nlohmann::json());
  if (label == "safe" || label == true) return 1;
  if (label == "unsafe" || label == false) return -1;
  throw ConfigError(row.where + ": expected \"safe\", \"unsafe\", true or false under \"label\", found " +
                    label.dump().substr(0, 200));
}

}  // namespace

RewardRows::RewardRows(const std::string& key, std::unique_ptr<RowSource> rows, const DataConfig& data, const ScoredText& texts,
                       std::int64_t longest, const Logger& logger)
    : key_(key), rows_(std::move(rows)), drops_(data.long_prompts == "drop"), texts_(texts), longest_(longest) {
  for (std::uint64_t i = 0; i < rows_->size(); ++i) {
    if (fitting(rows_->in_order(i))) kept_.push_back(i);
  }
  const std::uint64_t dropped = rows_->size() - kept_.size();
  const std::string what = " rows are dropped: their texts are longer than the model's " + std::to_string(longest_) + " positions";
  if (kept_.empty()) throw ConfigError(key_ + ": all " + std::to_string(dropped) + what);
  if (dropped > 0) logger.warning(key_ + ": " + std::to_string(dropped) + " of " + std::to_string(rows_->size()) + what);
}

RewardExample RewardRows::example(const Row& row) const {
  if (row.json.contains("label")) return {texts_.ids(row, response_under(row, "completion")), {}, sign_of(row)};
  RewardExample pair{texts_.ids(row, response_under(row, "chosen")), texts_.ids(row, response_under(row, "rejected"))};
  if (pair.rejected.empty())
    throw ConfigError(row.where + ": \"rejected\": expected a text of at least one token, found an empty one");
  return pair;
}

std::optional<RewardExample> RewardRows::fitting(const Row& row) const {
  RewardExample made = example(row);
  const auto tokens = static_cast<std::int64_t>(std::max(made.text.size(), made.rejected.size()));
  if (made.text.empty()) throw ConfigError(row.where + ": expected a text of at least one token, found an empty one");
  if (tokens <= longest_) return made;
  if (drops_) return std::nullopt;
  throw ConfigError(row.where + ": a text of " + std::to_string(tokens) + " tokens; expected at most " + std::to_string(longest_) +
                    ", the model's positions; or set data.long_prompts = drop");
}

RewardExample RewardRows::at(std::uint64_t number) const {
  for (std::uint64_t i = 0; i < kReplacementTries; ++i) {
    if (auto made = fitting(rows_->at(number + (i << kReplacementShift)))) return *std::move(made);
  }
  throw ConfigError(key_ + ": hardly any row's texts are within the model's " + std::to_string(longest_) + " positions");
}

std::vector<RewardExample> RewardRows::first(std::uint64_t count) const {
  std::vector<RewardExample> examples;
  for (std::uint64_t i = 0; i < std::min<std::uint64_t>(count, kept_.size()); ++i)
    examples.push_back(example(rows_->in_order(kept_[i])));
  return examples;
}

}  // namespace troupe
