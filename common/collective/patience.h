#pragma once

#include <string>

namespace troupe {

/// How long the ranks of a collective wait for one another, judged by what is known of them beside the collective itself.
/// Any thread.
class Patience {
 public:
  virtual ~Patience() = default;
  /// Seconds that `peer` may still be waited for, by a rank that has waited `waited_s` for it already; 0 or less: no longer.
  virtual double left_s(int peer, double waited_s) const = 0;
  /// What a rank was last seen doing ("step 7, optimizer, pid 42, heard of 0.4 s ago"), for errors; "" where nothing is known.
  virtual std::string last_seen(int rank) const = 0;
};

/// The same deadline for every wait, whatever the peers do.
class FixedPatience final : public Patience {
 public:
  explicit FixedPatience(double deadline_s) : deadline_s_(deadline_s) {}
  double left_s(int, double waited_s) const override { return deadline_s_ - waited_s; }
  std::string last_seen(int) const override { return ""; }

 private:
  double deadline_s_;
};

}  // namespace troupe
