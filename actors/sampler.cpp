#include "actors/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <string>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/model/kernels/kernels.h"
#include "common/model/token_logprobs.h"

namespace troupe {
namespace {

constexpr float kBanned = -1e30F;  // a logit without probability at any temperature
constexpr std::size_t kMaxStopTexts = 256, kMaxStopBytes = 512;  // as on the wire

void require_finite(std::span<const float> logits) {
  if (kernels<float>().all_finite(logits.data(), std::ssize(logits))) return;
  const auto first = std::ranges::find_if(logits, [](float logit) { return !std::isfinite(logit); });
  throw DeviceError("the logit of token " + std::to_string(first - logits.begin()) + " is " + std::to_string(*first) +
                    ", expected a finite number: the weights or the forward pass are broken");
}

DrawnToken draw_untruncated(std::span<const float> logits, float temperature, double uniform) {
  const float lse = log_sum_exp(logits.data(), std::ssize(logits), temperature);
  const auto index = static_cast<std::size_t>(kernels<float>().invert_cdf(logits.data(), std::ssize(logits), temperature, lse, uniform));
  return {static_cast<std::int32_t>(index), logits[index] / temperature - lse};
}

/// The ids that truncation leaves, in increasing order, in scratch.ids.
void truncate(std::span<const float> logits, const SamplingParams& sampling, SamplerScratch& scratch) {
  auto& ids = scratch.ids;
  ids.clear();
  const auto logit = [&](std::int32_t id) { return logits[static_cast<std::size_t>(id)]; };
  const auto temperature = sampling.temperature;
  const auto size = static_cast<std::int32_t>(logits.size());

  float lowest_kept = *std::ranges::min_element(logits);
  if (sampling.top_k > 0 && sampling.top_k < size) {
    auto& sorted = scratch.logits;
    sorted.assign(logits.begin(), logits.end());
    const auto kth = sorted.begin() + (sampling.top_k - 1);
    std::nth_element(sorted.begin(), kth, sorted.end(), std::greater<>());
    lowest_kept = *kth;
  }
  for (std::int32_t id = 0; id < size; ++id) {
    if (logit(id) >= lowest_kept) ids.push_back(id);
  }

  const double highest = static_cast<double>(std::ranges::max(logits));
  const auto weight = [&](std::int32_t id) {
    return std::exp((static_cast<double>(logit(id)) - highest) / temperature);
  };
  if (sampling.top_p < 1.0) {
    const auto before = [&](std::int32_t a, std::int32_t b) { return logit(a) != logit(b) ? logit(a) > logit(b) : a < b; };
    double total = 0;
    for (const std::int32_t id : ids) total += weight(id);
    double above = 0;  // of everything more probable
    std::ptrdiff_t kept = 0, sorted = 0;
    while (kept < std::ssize(ids) && above < sampling.top_p * total) {
      if (kept == sorted) {  // the most probable of a vocabulary are few: no more are sorted than are needed
        const auto begin = ids.begin() + sorted;
        sorted = std::min(std::ssize(ids), 4 * sorted + 256);
        std::nth_element(begin, ids.begin() + sorted, ids.end(), before);
        std::sort(begin, ids.begin() + sorted, before);
      }
      above += weight(ids[static_cast<std::size_t>(kept++)]);
    }
    ids.resize(static_cast<std::size_t>(kept));
  }
  if (sampling.min_p > 0) std::erase_if(ids, [&](std::int32_t id) { return weight(id) < sampling.min_p; });
  std::ranges::sort(ids);
}

}  // namespace

void validate_sampling(const SamplingParams& sampling) {
  const auto refuse = [](const std::string& field, const std::string& value, const std::string& range) {
    throw ConfigError("sampling." + field + " = " + value + ": expected " + range);
  };
  // Written so that NaN is refused too.
  if (!(sampling.temperature >= 0 && sampling.temperature <= 1e4)) {
    refuse("temperature", shortest(sampling.temperature), "0 (greedy) to 10000");
  }
  if (sampling.temperature > 0 && sampling.temperature < 1e-4) {
    refuse("temperature", shortest(sampling.temperature), "0 (greedy) or at least 0.0001");
  }
  if (!(sampling.top_p > 0 && sampling.top_p <= 1))
    refuse("top_p", shortest(sampling.top_p), "above 0, at most 1");
  if (sampling.top_k < 0) refuse("top_k", std::to_string(sampling.top_k), "0 (all) or more");
  if (!(sampling.min_p >= 0 && sampling.min_p <= 1)) refuse("min_p", shortest(sampling.min_p), "0 to 1");
  if (sampling.max_tokens < 1) refuse("max_tokens", std::to_string(sampling.max_tokens), "1 or more");
  if (sampling.min_tokens < 0 || sampling.min_tokens >= sampling.max_tokens) {
    refuse("min_tokens", std::to_string(sampling.min_tokens), "0 to max_tokens - 1");
  }
  if (sampling.stop_texts.size() > kMaxStopTexts) {
    refuse("stop_texts", std::to_string(sampling.stop_texts.size()) + " texts", std::to_string(kMaxStopTexts) + " at most");
  }
  for (const std::string& text : sampling.stop_texts) {
    if (text.empty() || text.size() > kMaxStopBytes) {
      refuse("stop_texts", "a text of " + std::to_string(text.size()) + " bytes", "1 to " + std::to_string(kMaxStopBytes));
    }
  }
}

DrawnToken draw_token(std::span<const float> logits, const SamplingParams& sampling, std::span<const std::int32_t> banned,
                      double uniform, SamplerScratch& scratch) {
  check(!logits.empty(), "draw_token: no logits");
  require_finite(logits);
  if (!banned.empty()) {
    scratch.allowed.assign(logits.begin(), logits.end());
    for (const std::int32_t id : banned) scratch.allowed[static_cast<std::size_t>(id)] = kBanned;
    logits = scratch.allowed;
  }
  if (sampling.temperature == 0) {
    const auto index = static_cast<std::size_t>(kernels<float>().first_highest(logits.data(), std::ssize(logits)));
    const float lse = log_sum_exp(logits.data(), std::ssize(logits), 1.0F);
    return {static_cast<std::int32_t>(index), logits[index] / 1.0F - lse};
  }
  const auto temperature = static_cast<float>(sampling.temperature);
  const bool truncated = sampling.top_k > 0 || sampling.top_p < 1.0 || sampling.min_p > 0;
  if (!truncated) return draw_untruncated(logits, temperature, uniform);

  truncate(logits, sampling, scratch);
  scratch.logits.clear();
  for (const std::int32_t id : scratch.ids) scratch.logits.push_back(logits[static_cast<std::size_t>(id)]);
  DrawnToken drawn = draw_untruncated(scratch.logits, temperature, uniform);
  drawn.id = scratch.ids[static_cast<std::size_t>(drawn.id)];
  return drawn;
}

}  // namespace troupe
