#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

#include "common/base/error.h"

namespace troupe {

/// How much longer the steps of a file can make a text at most. A chain of them that goes past any sensible one is refused when it is
/// read, because it would fill the memory from a text of a few letters.
class Growth {
 public:
  /// One more step, which makes `bytes` of up to `from` ones. @throws ConfigError naming `where`.
  void add(std::size_t bytes, std::size_t from, const std::string& where) {
    times_ *= std::max<std::size_t>(1, (bytes + from - 1) / from);
    if (times_ > kMost) {
      throw ConfigError(where + ": its steps could make a text " + std::to_string(times_) + " times as long, expected at most " +
                        std::to_string(kMost) + " times");
    }
  }

 private:
  static constexpr std::size_t kMost = 100;
  std::size_t times_ = 1;
};

}  // namespace troupe
