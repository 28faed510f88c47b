#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/logger.h"
#include "common/config/config.h"
#include "common/data/rows.h"
#include "common/reward_model/scored_text.h"

namespace troupe {

/// What a reward model learns from: two texts of which the first should score higher, or one text that should score above or
/// below 0.
struct RewardExample {
  std::vector<std::int32_t> text;
  std::vector<std::int32_t> rejected = {};  // empty: `text` is judged by itself
  double sign = 1;                          // -1: it should score below 0
};

/// Rows of data.train or data.eval as examples: comparisons, {"prompt" or "messages", "chosen", "rejected"}, and judgements,
/// {"prompt" or "messages", "completion", "label": "safe" or "unsafe", or true or false}. What is chosen, rejected or completed is
/// a text, or a list of messages. One thread at a time; borrows `texts`.
class RewardRows {
 public:
  /// Reads every row once. Texts over `longest` tokens are refused, or their rows dropped and counted in the log, as
  /// data.long_prompts says. `key` names the rows in errors. @throws ConfigError naming the row.
  RewardRows(const std::string& key, std::unique_ptr<RowSource> rows, const DataConfig& data, const ScoredText& texts,
             std::int64_t longest, const Logger& logger);

  /// The example with this number in training order, shuffled anew each epoch.
  RewardExample at(std::uint64_t number) const;
  /// Rows that are not dropped, and the examples of the first so many of them.
  std::uint64_t size() const { return kept_.size(); }
  std::vector<RewardExample> first(std::uint64_t count) const;

 private:
  RewardExample example(const Row& row) const;
  /// The same, or nothing where it is too long and such rows are dropped.
  std::optional<RewardExample> fitting(const Row& row) const;

  std::string key_;
  std::unique_ptr<RowSource> rows_;
  bool drops_;
  const ScoredText& texts_;
  std::int64_t longest_;
  std::vector<std::uint64_t> kept_;  // places in the source
};

}  // namespace troupe
