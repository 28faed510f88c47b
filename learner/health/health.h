#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/metrics.h"
#include "common/config/config.h"

namespace troupe {

/// Metrics of a step, or of some completions, by the names of common/base/metric_names.h.
using MetricValues = std::map<std::string, double>;

/// A reason to say that a run is not learning.
struct Finding {
  std::string check;       // one word for machines, e.g. "rewards_equal"
  std::string what;        // "every reward is 0"
  std::string cause;       // the likely one, and what to look at
  std::int64_t since = 0;  // the first step that showed it; 0: known before step 1
  std::int64_t until = 0;  // once it is over, the last step that showed it; 0: it is not over
  bool operator==(const Finding&) const = default;
};

/// "since step 3: every reward is 0. Likely cause: …".
std::string describe(const Finding& finding);

/// Tells whether a run is learning, as a fold over the metrics of its steps: the same metrics give the same findings, in the
/// learner, in a resumed one and in who reads metrics.jsonl. A sign that `health.window` steps in a row show is a finding; it
/// is over after as many steps in a row without the sign. A step that lacks a metric says nothing about its signs. The signs:
///
///   cut_off            at least 95 % of the completions reached sampling.max_tokens
///   rewards_equal      the lowest reward of the step is the highest, 0 or not, and no overlong penalty tells completions apart
///   never_right        accuracy 0, over 512 completions at least
///   never_in_form      the format reward is 0
///   zero_variance      share of groups with equal rewards of at least health.max_zero_variance; not under
///                      reinforce_pp, whose baseline is the step's
///   kl                 |KL| above health.max_kl
///   entropy            above twice that of the first step and by more than health.max_entropy_rise above it
///   entropy_collapse   below health.min_entropy, while less than 95 % of the answers are right
///   ratio              at lag 0, the first update's largest |log ratio| above health.max_log_ratio
///   weights_unchanged  the version that the step published has the bytes of the one before
///   filtered           dynamic sampling threw away health.window x batch.prompts groups without filling a batch
///   failed             as many groups got no reward, because their verifier failed, without filling a batch
///
/// never_right and zero_variance are no news while rewards_equal holds, which they follow from. No I/O, one thread at a time.
class Health {
 public:
  /// Knows at once what the configuration makes certain: a learning rate of 0, rewards that all weigh 0.
  explicit Health(const Config& config);

  /// Something to say about a finding: it is new, it still holds after another 100 steps, or it is over.
  struct News {
    enum class Kind { kBegins, kLasts, kEnds } kind;
    Finding finding;
    bool operator==(const News&) const = default;
  };

  /// Before step 1 trains: what all of these `looks` at completions (of the evaluation, of the first batch) show alike is said
  /// without waiting for the window, given 64 completions in all. It does not count for reason_to_stop().
  std::vector<News> first_look(const std::vector<MetricValues>& looks, std::int64_t completions);
  /// A step is trained. Steps come in order.
  std::vector<News> step(std::int64_t step, const MetricValues& metrics);
  /// The batch of `step` is not full yet, and so many groups were refused since the last one was, by reason.
  std::vector<News> without_batch(std::int64_t step, const std::map<std::string, std::int64_t>& refused);

  /// All findings in the order in which they began, those that are over included.
  const std::vector<Finding>& findings() const { return findings_; }
  std::vector<Finding> current() const;
  /// The first finding for which a strict run stops: one that has held for a whole window, or is certain.
  std::optional<Finding> reason_to_stop() const;

 private:
  struct State {
    std::int64_t shown = 0;  // steps in a row up to now with the sign
    std::int64_t quiet = 0;  // … without it
    std::int64_t first = 0;  // step of the present row with the sign
    std::int64_t last = 0;   // last step with it
    bool certain = false;
    std::optional<std::size_t> open;  // its place in findings_
  };

  void know(const std::string& check, const std::string& what, const std::string& cause);
  News begin(State& state, Finding finding);
  std::optional<News> quiet_step(State& state);

  Config config_;
  std::int64_t completions_;  // of a step
  std::optional<double> first_entropy_;
  std::map<std::string, State> states_;  // by check
  std::vector<Finding> findings_;
};

/// The fold over a run's metrics.jsonl.
Health health_of(const Config& config, const std::vector<MetricsLine>& lines);

}  // namespace troupe
