#include "rewarders/reward.h"

#include "common/base/error.h"

namespace troupe {

std::string needed_gold(const nlohmann::json& row, const std::string& kind) {
  std::string gold = gold_of(row);
  if (!gold.empty()) return gold;
  throw ConfigError("a reward of kind " + kind + " expects an answer under \"gold\" or \"answer\", found the keys " + keys_of(row));
}

std::optional<std::string> Reward::answer(const std::string&) const { return std::nullopt; }

std::vector<Grade> Reward::grade_all(std::span<const GradedItem> items) const {
  std::vector<Grade> grades;
  for (const GradedItem& item : items) grades.push_back(grade(item));
  return grades;
}

}  // namespace troupe
