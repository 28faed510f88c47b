#include "launch/eval_statistics.h"

#include <algorithm>
#include <cmath>

namespace troupe {
namespace {

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

double standard_error(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double middle = mean(values), count = static_cast<double>(values.size());
  double squares = 0;
  for (const double value : values) squares += (value - middle) * (value - middle);
  return std::sqrt(squares / (count - 1) / count);
}

std::vector<std::int64_t> counted_ks(std::int64_t samples) {
  std::vector<std::int64_t> ks;
  for (std::int64_t k = 1; k < samples; k *= 2) ks.push_back(k);
  ks.push_back(samples);
  return ks;
}

/// Of the runs of k completions.
double share_of_right_majorities(std::span<const Answered> row, std::size_t k) {
  std::vector<double> right;
  for (std::size_t first = 0; first + k <= row.size(); first += k) right.push_back(majority_is_right(row.subspan(first, k)) ? 1 : 0);
  return mean(right);
}

}  // namespace

std::vector<std::optional<std::size_t>> votes_of(std::span<const std::optional<std::string>> answers,
                                                 const std::function<bool(const std::string& a, const std::string& b)>& same) {
  std::vector<std::string> firsts;
  std::vector<std::optional<std::size_t>> votes;
  for (const std::optional<std::string>& answer : answers) {
    if (!answer) {
      votes.emplace_back();
      continue;
    }
    const auto found = std::ranges::find_if(firsts, [&](const std::string& first) { return same(*answer, first); });
    votes.emplace_back(found - firsts.begin());
    if (found == firsts.end()) firsts.push_back(*answer);
  }
  return votes;
}

double pass_at(std::int64_t k, std::int64_t samples, std::int64_t right) {
  if (samples - right < k) return 1;
  double none = 1;  // C(samples - right, k) / C(samples, k)
  for (std::int64_t i = samples - right + 1; i <= samples; ++i) none *= 1 - static_cast<double>(k) / static_cast<double>(i);
  return 1 - none;
}

bool majority_is_right(std::span<const Answered> completions) {
  std::map<std::size_t, int> counts;
  int most = 0;
  for (const Answered& completion : completions) {
    if (completion.vote) most = std::max(most, ++counts[*completion.vote]);
  }
  const auto first = std::ranges::find_if(completions, [&](const Answered& a) { return a.vote && counts[*a.vote] == most; });
  return first != completions.end() && first->right.value_or(false);
}

EvalNumbers numbers_of(const std::vector<std::vector<Answered>>& rows) {
  EvalNumbers numbers;
  std::map<std::int64_t, std::vector<double>> pass, majority;
  bool votes = false;
  for (const std::vector<Answered>& row : rows) {
    const auto graded = std::ranges::count_if(row, [](const Answered& a) { return a.right.has_value(); });
    const auto right = std::ranges::count_if(row, [](const Answered& a) { return a.right.value_or(false); });
    numbers.failed += row.size() - static_cast<std::size_t>(graded);
    votes = votes || std::ranges::any_of(row, [](const Answered& a) { return a.vote.has_value(); });
    for (const std::int64_t k : counted_ks(std::ssize(row))) {
      if (k <= graded) pass[k].push_back(pass_at(k, graded, right));
      majority[k].push_back(share_of_right_majorities(row, static_cast<std::size_t>(k)));
    }
  }
  for (const auto& [k, values] : pass) numbers.pass[k] = mean(values);
  numbers.pass_1_error = standard_error(pass[1]);
  if (!votes) return numbers;
  for (const auto& [k, values] : majority) numbers.majority[k] = mean(values);
  return numbers;
}

}  // namespace troupe
