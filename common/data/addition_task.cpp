#include "common/data/addition_task.h"

#include <algorithm>
#include <set>

#include "common/base/error.h"
#include "common/base/random.h"

namespace troupe {
namespace {

constexpr std::size_t kTrainRows = 4096;
constexpr std::size_t kColdStartRows = 8192;
constexpr std::size_t kHeldOutRows = 512;
constexpr std::uint64_t kTeacher = 0x74656163686572;  // the draws of forgets_carries, apart from those of operands
constexpr std::uint64_t kHeldOutSeed = 0x68656C646F7574;  // of the split and of its rows: never the run's

std::array<std::uint32_t, 4> draw(std::uint64_t key, std::uint64_t a, std::uint64_t b) {
  return philox4x32({static_cast<std::uint32_t>(a), static_cast<std::uint32_t>(a >> 32), static_cast<std::uint32_t>(b),
                     static_cast<std::uint32_t>(b >> 32)},
                    {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)});
}

/// A number in [low, low + count) from 32 random bits; the bias is below count / 2^32.
std::int64_t scaled(std::uint32_t bits, std::int64_t low, std::int64_t count) {
  return low + static_cast<std::int64_t>(static_cast<std::uint64_t>(bits) * static_cast<std::uint64_t>(count) >> 32);
}

}  // namespace

bool is_held_out(std::int64_t a, std::int64_t b) {
  const auto [low, high] = std::minmax(a, b);
  return draw(kHeldOutSeed, static_cast<std::uint64_t>(low), static_cast<std::uint64_t>(high))[0] % 8 == 0;
}

bool forgets_carries(std::uint64_t seed, std::uint64_t index) { return draw(seed, index, kTeacher)[0] % 4 < 3; }

std::string addition_completion(std::int64_t a, std::int64_t b, int digits, bool with_carries) {
  std::string text = "<think>";
  std::int64_t carry = 0;
  std::int64_t answer = 0;
  std::int64_t place = 1;
  for (int i = 0; i < digits; ++i, a /= 10, b /= 10, place *= 10) {
    const std::int64_t column = a % 10 + b % 10 + carry;
    text += " " + std::to_string(a % 10) + "+" + std::to_string(b % 10) + "+" + std::to_string(carry) + "=" +
            (column < 10 ? "0" : "") + std::to_string(column);
    answer += (i + 1 < digits ? column % 10 : column) * place;
    carry = with_carries ? column / 10 : 0;
  }
  return text + " </think> <answer> " + std::to_string(answer) + " </answer>";
}

AdditionTask::AdditionTask(int digits, Split split, std::uint64_t seed) : digits_(digits), split_(split), seed_(seed) {
  std::int64_t low = 1;
  for (int i = 1; i < digits; ++i) low *= 10;
  const bool held_out = split == Split::kHeldOut;
  const std::uint64_t key = held_out ? kHeldOutSeed + static_cast<std::uint64_t>(digits)
                                     : seed_for(seed, split == Split::kTrain ? Stream::kData : Stream::kColdStart);
  const std::size_t rows = held_out ? kHeldOutRows : split == Split::kTrain ? kTrainRows : kColdStartRows;
  std::set<std::pair<std::int64_t, std::int64_t>> seen;
  for (std::uint64_t i = 0; operands_.size() < rows; ++i) {
    const auto bits = draw(key, i, static_cast<std::uint64_t>(digits));
    const std::pair pair(scaled(bits[0], low, 9 * low), scaled(bits[1], low, 9 * low));
    if (is_held_out(pair.first, pair.second) != held_out) continue;
    if (held_out && !seen.insert(pair).second) continue;
    operands_.push_back(pair);
  }
}

std::unique_ptr<AdditionTask> AdditionTask::open(const std::string& name, std::uint64_t seed) {
  const std::size_t slash = name.find('/');
  const std::string task = name.substr(0, slash);
  const std::string split = slash == std::string::npos ? "" : name.substr(slash + 1);
  if (task != "addition2" && task != "addition3" && task != "addition4") return nullptr;
  const int digits = task.back() - '0';
  if (split == "train") return std::make_unique<AdditionTask>(digits, Split::kTrain, seed);
  if (split == "held_out") return std::make_unique<AdditionTask>(digits, Split::kHeldOut, seed);
  if (split == "cold_start") return std::make_unique<AdditionTask>(digits, Split::kColdStart, seed);
  throw ConfigError("task:" + name + ": expected " + task + "/train, " + task + "/held_out or " + task + "/cold_start");
}

nlohmann::json AdditionTask::row(std::uint64_t index) const {
  const auto [a, b] = operands(index);
  const std::string question = std::to_string(a) + "+" + std::to_string(b) + "=";
  nlohmann::json row = {{"question", question}, {"gold", std::to_string(a + b)}};
  if (split_ == Split::kColdStart) {
    row["prompt"] = question;
    row["completion"] = addition_completion(a, b, digits_, !forgets_carries(seed_, index));
  }
  return row;
}

}  // namespace troupe
