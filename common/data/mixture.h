#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace troupe {

/// One source of "a.jsonl:0.7,b.jsonl:0.3".
struct MixturePart {
  std::string source;
  double weight = 1.0;
  bool operator==(const MixturePart&) const = default;
};

/// The sources that `spec` names, each with its weight or all with none (1 each); a colon that no number follows belongs to the
/// name. @throws ConfigError naming the weight or name that is wrong.
std::vector<MixturePart> mixture_parts(const std::string& spec);

/// An order of numbers over several sources in fixed shares. Numbers go in blocks of 1,024; each block has every source's share
/// of them in an order of its own, so a number's source and its place in it need no history. A single source keeps its numbers. Immutable: any thread.
class Mixture {
 public:
  static constexpr std::uint64_t kBlock = 1024;

  /// @throws ConfigError naming `spec` where a part has less than a thousandth.
  Mixture(const std::vector<MixturePart>& parts, std::uint64_t seed, const std::string& spec);

  /// Which source the number is of, and its number there: 0, 1, 2 … without gaps in each.
  struct Place {
    std::size_t part = 0;
    std::uint64_t number = 0;
  };
  Place at(std::uint64_t number) const;

 private:
  std::vector<std::uint64_t> shares_;  // of a block
  std::uint64_t seed_;
};

}  // namespace troupe
