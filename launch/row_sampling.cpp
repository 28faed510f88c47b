#include "launch/row_sampling.h"

#include <limits>
#include <string>

#include "common/base/error.h"
#include "common/base/text.h"

namespace troupe {
namespace {

/// Null where the row has no such key.
const nlohmann::json* value_of(const Row& row, const char* key) {
  const auto found = row.json.find(key);
  return found == row.json.end() || found->is_null() ? nullptr : &*found;
}

[[noreturn]] void refuse(const Row& row, const char* key, const char* expected) {
  throw ConfigError(row.where + ": `" + key + "`: expected " + expected + ", found " + beginning_of(row.json.at(key).dump()));
}

void read(const Row& row, const char* key, double& number) {
  const nlohmann::json* value = value_of(row, key);
  if (value == nullptr) return;
  if (!value->is_number()) refuse(row, key, "a number");
  number = value->get<double>();
}

void read(const Row& row, const char* key, std::int32_t& count) {
  const nlohmann::json* value = value_of(row, key);
  if (value == nullptr) return;
  const bool whole = value->is_number_integer() && value->get<std::int64_t>() >= 0 &&
                     value->get<std::int64_t>() <= std::numeric_limits<std::int32_t>::max();
  if (!whole) refuse(row, key, "a whole number from 0 to 2147483647");
  count = value->get<std::int32_t>();
}

void read(const Row& row, const char* key, std::vector<std::string>& texts) {
  const nlohmann::json* value = value_of(row, key);
  if (value == nullptr) return;
  texts.clear();
  for (const auto& text : value->is_array() ? *value : nlohmann::json::array({*value})) {
    if (!text.is_string()) refuse(row, key, "a text or a list of texts");
    texts.push_back(text.get<std::string>());
  }
}

}  // namespace

SamplingParams row_sampling(const Row& row, SamplingParams sampling) {
  read(row, "temperature", sampling.temperature);
  read(row, "top_p", sampling.top_p);
  read(row, "top_k", sampling.top_k);
  read(row, "min_p", sampling.min_p);
  read(row, "max_tokens", sampling.max_tokens);
  read(row, "min_tokens", sampling.min_tokens);
  read(row, "stop", sampling.stop_texts);
  return sampling;
}

std::optional<std::uint64_t> row_seed(const Row& row) {
  const nlohmann::json* value = value_of(row, "seed");
  if (value == nullptr) return std::nullopt;
  const bool whole = value->is_number_integer() && (value->is_number_unsigned() || value->get<std::int64_t>() >= 0);
  if (!whole) refuse(row, "seed", "a whole number from 0 on");
  return value->get<std::uint64_t>();
}

}  // namespace troupe
