#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "common/base/error.h"

namespace troupe {

/// What rendering may cost. A template is data from the internet: it may be wrong, but never exhaust the process.
struct TemplateLimits {
  std::size_t template_bytes = 1 << 20;
  std::size_t output_bytes = 64 << 20;
  std::size_t steps = 200'000'000;  // expressions, loop rounds, bytes of text and list items that are made or looked at
  int depth = 500;                  // statements, expressions and macros inside one another, while rendering
};

/// Counts the steps of one rendering.
class Meter {
 public:
  explicit Meter(std::size_t steps) : left_(steps) {}
  /// @throws ConfigError where the steps are used up.
  void spend(std::size_t steps) {
    if (steps > left_) throw ConfigError("the template does more than is allowed (too many loop rounds, or texts too long)");
    left_ -= steps;
  }

 private:
  std::size_t left_;
};

/// A text made piece by piece, each paid for before it is copied.
class MeteredText {
 public:
  explicit MeteredText(Meter& meter) : meter_(meter) {}
  MeteredText& operator<<(std::string_view piece) {
    meter_.spend(piece.size());
    text_ += piece;
    return *this;
  }
  std::string take() { return std::move(text_); }

 private:
  Meter& meter_;
  std::string text_;
};

}  // namespace troupe
