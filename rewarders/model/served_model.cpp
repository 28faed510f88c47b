#include "rewarders/model/served_model.h"

#include <ATen/Parallel.h>

#include <iostream>

#include "common/base/error.h"
#include "common/model/checkpoint_io.h"
#include "common/model/compute_device.h"
#include "common/reward_model/score_pass.h"
#include "common/reward_model/scored_text.h"
#include "common/tokenizer/tokenizer.h"

namespace troupe {
namespace {

constexpr std::size_t kBatchTokens = 8192;

}  // namespace

struct ServedModel::Model {
  Tokenizer tokenizer;
  ScoredText texts;
  Transformer transformer;

  Model(const std::filesystem::path& folder, at::ScalarType dtype, at::Device device)
      : tokenizer(Tokenizer::load(folder)),
        texts(read_text_form(folder), tokenizer, folder),
        transformer(load_reward_model(folder, dtype).on(device)) {}

  /// The ids of a response, none where it cannot be scored.
  std::vector<std::int32_t> ids_of(const ResponseToScore& one) const {
    try {
      std::vector<std::int32_t> ids = texts.ids({one.row, "row"}, one.response);
      const std::int64_t most = transformer.parameters().architecture().max_positions;
      if (!ids.empty() && static_cast<std::int64_t>(ids.size()) <= most) return ids;
      throw ConfigError("a question and response of " + std::to_string(ids.size()) + " tokens; expected 1 to " +
                        std::to_string(most) + ", the model's positions");
    } catch (const ConfigError& error) {
      std::cerr << "reward model: " << error.what() << '\n';
      return {};
    }
  }
};

ServedModel::ServedModel(const std::filesystem::path& folder, const std::string& dtype, const std::string& device, int threads) {
  at::set_num_threads(threads);
  const at::ScalarType type = dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  model_ = std::make_unique<const Model>(folder, type, compute_device(device, "rewarders.device", type));
}

std::string ServedModel::device() const { return model_->transformer.parameters().flat().is_cuda() ? "cuda" : "cpu"; }

ServedModel::~ServedModel() = default;

void ServedModel::check(const std::filesystem::path& folder) {
  if (!read_architecture(folder).scores)
    throw ConfigError(folder.string() + ": expected a reward model, found a language model; `troupe reward-model` makes one of it");
}

std::uint64_t ServedModel::memory_bytes(const std::filesystem::path& folder) {
  constexpr std::uint64_t kActivations = std::uint64_t{2} << 30;
  // The mapped file, the weights, and the copy that the kernels read.
  const auto elements = static_cast<std::uint64_t>(ParameterLayout(read_architecture(folder)).total);
  return 3 * sizeof(float) * elements + kActivations;
}

std::vector<std::optional<double>> ServedModel::scores(const std::vector<ResponseToScore>& responses) const {
  std::vector<std::vector<std::int32_t>> ids;
  for (const ResponseToScore& one : responses) ids.push_back(model_->ids_of(one));
  std::vector<std::optional<double>> scores(responses.size());
  for (std::size_t begin = 0; begin < ids.size();) {
    std::vector<std::span<const std::int32_t>> texts;
    std::vector<std::size_t> places;
    std::size_t tokens = 0;
    for (; begin < ids.size() && (texts.empty() || tokens + ids[begin].size() <= kBatchTokens); ++begin) {
      if (ids[begin].empty()) continue;
      tokens += ids[begin].size();
      texts.emplace_back(ids[begin]);
      places.push_back(begin);
    }
    if (texts.empty()) break;
    const ScorePass pass(model_->transformer, texts, std::nullopt);
    for (std::size_t i = 0; i < places.size(); ++i) scores[places[i]] = static_cast<double>(pass.scores()[i]);
  }
  return scores;
}

}  // namespace troupe
