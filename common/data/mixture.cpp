#include "common/data/mixture.h"

#include <cmath>
#include <optional>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/data/permutation.h"

namespace troupe {
namespace {

struct Weighted {
  std::string source;
  std::optional<double> weight;
};

Weighted split_weight(std::string_view text, const std::string& whole) {
  const std::size_t colon = text.rfind(':');
  if (colon != std::string_view::npos) {
    if (const auto weight = parse_double(text.substr(colon + 1))) {
      if (*weight <= 0) throw ConfigError("data \"" + whole + "\": the weight " + shortest(*weight) + " is not above 0");
      return {std::string(text.substr(0, colon)), weight};
    }
  }
  return {std::string(text), std::nullopt};
}

}  // namespace

std::vector<MixturePart> mixture_parts(const std::string& spec) {
  std::vector<MixturePart> parts;
  bool weighted = false;
  for (const auto text : split(spec, ',')) {
    const Weighted part = split_weight(trim(text), spec);
    if (part.source.empty()) throw ConfigError("data \"" + spec + "\": a file name is empty");
    if (!parts.empty() && part.weight.has_value() != weighted) {
      throw ConfigError("data \"" + spec + "\": some files have a weight and some have none");
    }
    weighted = part.weight.has_value();
    parts.push_back({part.source, part.weight.value_or(1.0)});
  }
  return parts;
}

Mixture::Mixture(const std::vector<MixturePart>& parts, std::uint64_t seed, const std::string& spec) : seed_(seed) {
  double total = 0;
  for (const MixturePart& part : parts) total += part.weight;
  double weight_before = 0;
  std::uint64_t shares_before = 0;
  for (const MixturePart& part : parts) {
    weight_before += part.weight;
    const auto shares = static_cast<std::uint64_t>(std::llround(weight_before / total * double{kBlock}));
    if (shares == shares_before) {
      throw ConfigError("data \"" + spec + "\": the weight of " + part.source + " is below a thousandth of all");
    }
    shares_.push_back(shares - shares_before);
    shares_before = shares;
  }
}

Mixture::Place Mixture::at(std::uint64_t number) const {
  if (shares_.size() == 1) return {0, number};
  const std::uint64_t block = number / kBlock;
  std::uint64_t place = permuted(number % kBlock, kBlock, seed_, block);
  std::size_t part = 0;
  for (; place >= shares_[part]; ++part) place -= shares_[part];
  return {part, block * shares_[part] + place};
}

}  // namespace troupe
