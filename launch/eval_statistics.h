#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

// K completions of each row, of which some are right.

namespace troupe {

/// One completion, as it counts.
struct Answered {
  std::optional<bool> right;        // nothing where the verifier failed
  std::optional<std::size_t> vote;  // for the answer with this number among the row's; nothing where it gives none
};

/// For each completion of a row the number of its answer, those that are `same` having one.
std::vector<std::optional<std::size_t>> votes_of(std::span<const std::optional<std::string>> answers,
                                                 const std::function<bool(const std::string& a, const std::string& b)>& same);

/// pass@k: the chance that of k of `samples` completions, drawn without putting back, one is among the `right` ones. 1 <= k <= samples.
/// Chen et al. 2021, eq. 1.
double pass_at(std::int64_t k, std::int64_t samples, std::int64_t right);

/// Whether the answer that most completions give (Wang et al. 2022, self-consistency; cons@k of DeepSeek-R1) is right; of those that are as
/// frequent the first that was given. False where nobody votes.
bool majority_is_right(std::span<const Answered> completions);

/// Means over rows.
struct EvalNumbers {
  std::map<std::int64_t, double> pass;      // by k
  std::map<std::int64_t, double> majority;  // by k; empty where nobody votes
  double pass_1_error = 0;                  // standard error of pass@1 over rows
  std::size_t failed = 0;                   // completions whose verifier failed: in no pass@k
};

/// Of rows of K completions each, for k = 1, 2, 4 … and K. A row counts for pass@k where k of its completions were graded; for
/// majority@k by its K / k disjoint runs of k completions.
EvalNumbers numbers_of(const std::vector<std::vector<Answered>>& rows);

}  // namespace troupe
