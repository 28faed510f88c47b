#pragma once

#include <string>
#include <vector>

#include "common/config/config.h"

namespace troupe {

/// A reward's own keys, read by the kind's constructor. Whatever was not read is an error at the end.
class RewardParameters {
 public:
  explicit RewardParameters(const RewardConfig& config) : config_(config), left_(config.parameters) {}

  /// The number under `key`, or `fallback`. @throws ConfigError outside [low, high].
  double number(const std::string& key, double fallback, double low, double high);
  bool flag(const std::string& key, bool fallback);
  std::string text(const std::string& key, const std::string& fallback);
  /// Comma-separated words, each one of `choices`.
  std::vector<std::string> words(const std::string& key, const std::string& fallback, const std::vector<std::string>& choices);
  /// One of `choices`.
  std::string choice(const std::string& key, const std::string& fallback, const std::vector<std::string>& choices);

  /// @throws ConfigError naming a key that nobody read, and those that the kind knows.
  void finish() const;

 private:
  const RewardConfig& config_;
  std::map<std::string, std::string> left_;
  std::vector<std::string> known_;
};

}  // namespace troupe
