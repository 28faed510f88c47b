#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/config/config.h"
#include "common/data/rows.h"
#include "common/messages/messages.h"

namespace troupe {

/// gold_of(row), for a reward of `kind`, which cannot do without. @throws ConfigError where the row has none.
std::string needed_gold(const nlohmann::json& row, const std::string& kind);

/// What a reward function sees of one completion.
struct GradedItem {
  const nlohmann::json& row;          // the data row: question, gold or answer, nums …
  const std::string& completion;
  std::uint32_t tokens = 0;           // 0 where unknown (grade on texts)
  FinishReason finish_reason = FinishReason::kStop;
};

/// Value and reason of one component. No value means that the verifier failed, which is never the same as wrong.
struct Grade {
  std::optional<double> value;
  std::string reason;  // ok, wrong, no_answer, …, verifier_failed
};

/// One reward function. Pure: the same item gives the same grade. One thread at a time.
class Reward {
 public:
  virtual ~Reward() = default;
  virtual Grade grade(const GradedItem& item) const = 0;
  /// The grades of several items, each as grade() gives it; one after the other unless the kind is quicker together (batches()).
  virtual std::vector<Grade> grade_all(std::span<const GradedItem> items) const;
  virtual bool batches() const { return false; }
  /// The final answer that grade() compares, for majority votes; nothing where the completion has none, or the kind compares none.
  virtual std::optional<std::string> answer(const std::string& completion) const;
  /// Whether two such answers are one.
  virtual bool same(const std::string& a, const std::string& b) const { return a == b; }
  /// @throws ConfigError saying what the row lacks that every grade needs.
  virtual void check_row(const nlohmann::json& row) const { (void)row; }
  /// Gets what grade() needs of this machine, and says what that is; empty where it needs nothing. Called once, before grade().
  /// @throws ConfigError where it is not to be had.
  virtual std::string prepare() { return ""; }
  /// Seconds that one grade() may take beyond those of plain reckoning.
  virtual double extra_s() const { return 0; }
};

/// The reward sections as a verifier is given them: reward models know where they compute (rewarders.device).
std::vector<RewardConfig> placed_rewards(const Config& config);

/// The function of `config.kind` with its parameters. @throws ConfigError naming an unknown kind (and the known ones) or parameter.
std::unique_ptr<Reward> make_reward(const RewardConfig& config);

/// All components of a configuration, weighted and summed. Every component has, beside its kind's own keys,
///   weight              factor in the sum
///   clip_low clip_high  bounds of its value in the sum
///   gate                another component: this one counts 0 in the sum unless that one's value is at least 1
///   always              counts for each row, also for one that chooses others
/// The values that are reported are neither clipped nor gated.
class RewardSet {
 public:
  /// @throws ConfigError naming the section and key that is wrong.
  explicit RewardSet(const std::vector<RewardConfig>& configs);
  ~RewardSet();
  RewardSet(RewardSet&&) noexcept;

  /// Gets what the components need of this machine before score() is called; what they say of it, a line each. @throws ConfigError.
  std::vector<std::string> prepare();
  /// Seconds that one score() may take beyond those of plain reckoning.
  double extra_s() const;
  /// Whether a component is quicker with several items at once.
  bool batches() const;

  /// Reward and components with value, reason and milliseconds. The reward is empty where a component that counts failed.
  /// A row with a "reward" field (a name, or a list of names) is graded by those components alone, beside those that count always
  /// and the gates of both. @throws ConfigError where the row names an unknown one.
  Score score(const GradedItem& item) const;
  /// The same of several items, whose shares of the time are told as equal. @throws as score(), for any of them.
  std::vector<Score> score_all(std::span<const GradedItem> items) const;

  /// @throws ConfigError saying which component cannot grade completions of this row, and what it lacks; or that it asks for
  /// one that is not there.
  void check_row(const nlohmann::json& row) const;

 private:
  struct Component;
  struct Graded;
  /// Which components count for the row. @throws ConfigError where its "reward" names none of them.
  std::vector<bool> chosen_by(const nlohmann::json& row) const;
  /// These, and the gates of those among them that have one.
  std::vector<bool> with_gates(std::vector<bool> chosen) const;
  /// The weighted sum of the chosen components' values; empty where one of them, or its gate, has none.
  std::optional<double> sum_of(const Graded& item) const;

  std::vector<Component> components_;
};

/// @throws ConfigError naming file and row, where the rewards cannot grade completions of this row.
void check_gradable(const RewardSet& rewards, const Row& row);
/// Asks for the rewards of every row before a run begins. @throws ConfigError naming file and row ("rows.jsonl:17") of the first
/// that they cannot grade, and what it lacks.
void check_gradable(const RewardSet& rewards, const RowSource& rows);
/// The same of all rows that the configuration trains and evaluates. @throws ConfigError also for a bad [reward.NAME] section.
void check_gradable(const Config& config);

}  // namespace troupe
