#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace troupe {

/// A reward model of tests/parity/make_reward_model_goldens.py.
inline std::filesystem::path reward_model_folder(const std::string& name) {
  return std::filesystem::path(TROUPE_TEST_DATA) / "parity/reward_models" / name;
}

/// The texts of its golden.safetensors.
inline std::vector<std::vector<std::int32_t>> golden_texts(const std::map<std::string, at::Tensor>& golden) {
  const std::int64_t* const ids = golden.at("ids").const_data_ptr<std::int64_t>();
  const at::Tensor& starts = golden.at("sequence_starts");
  std::vector<std::vector<std::int32_t>> texts;
  for (std::int64_t i = 0; i + 1 < starts.numel(); ++i) {
    std::vector<std::int32_t>& text = texts.emplace_back();
    for (std::int64_t at = starts.const_data_ptr<std::int64_t>()[i]; at < starts.const_data_ptr<std::int64_t>()[i + 1]; ++at)
      text.push_back(static_cast<std::int32_t>(ids[at]));
  }
  return texts;
}

}  // namespace troupe
