#include "launch/model_rows.h"

#include <ATen/Parallel.h>

#include "common/base/error.h"
#include "common/base/text.h"

namespace troupe {

at::ScalarType dtype_named(const std::string& name) {
  if (name == "fp32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  throw ConfigError("--dtype: expected fp32 or bf16, found '" + name + "'");
}

void use_threads(int threads) {
  constexpr int kMost = 1024;
  if (threads < 0 || threads > kMost) {
    throw ConfigError("--threads = " + std::to_string(threads) + ": expected 0 (all cores) to " + std::to_string(kMost));
  }
  if (threads > 0) at::set_num_threads(threads);
}

std::vector<std::int32_t> ids_of(const Row& row, std::int64_t vocabulary) {
  std::vector<std::int32_t> ids;
  const auto& list = row.json.at("ids");
  if (!list.is_array()) throw ConfigError(row.where + ": `ids` must be a list of token ids, found " + beginning_of(list.dump()));
  for (const auto& id : list) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() >= vocabulary) {
      throw ConfigError(row.where + ": `ids`: expected integers from 0 to " + std::to_string(vocabulary - 1) + ", found " + beginning_of(id.dump()));
    }
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

std::string text_of(const Row& row, const char* key) {
  const auto found = row.json.find(key);
  if (found == row.json.end() || !found->is_string()) {
    throw ConfigError(row.where + ": expected a text under `" + key + "` or a list under `ids`, found " + beginning_of(row.json.dump()));
  }
  return found->get<std::string>();
}

}  // namespace troupe
