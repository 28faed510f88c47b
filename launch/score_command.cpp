#include <ATen/core/Tensor.h>

#include <optional>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/data/rows.h"
#include "common/model/checkpoint_io.h"
#include "common/model/compute_device.h"
#include "common/tokenizer/tokenizer.h"
#include "launch/commands.h"
#include "launch/model_rows.h"
#include "launch/rows_io.h"
#include "learner/token_pass.h"

namespace troupe {
namespace {

namespace po = boost::program_options;
using Json = nlohmann::ordered_json;

/// Scores rows [begin, end) in one pass; rows of fewer than two tokens have nothing to predict.
std::vector<std::vector<float>> scored(const Transformer& model, const std::vector<std::vector<std::int32_t>>& rows) {
  std::vector<TokenSequence> sequences;
  for (const auto& ids : rows) {
    if (ids.size() >= 2) sequences.push_back({ids, 1});
  }
  std::vector<std::vector<float>> result(rows.size());
  if (sequences.empty()) return result;
  const TokenPass pass(model, sequences, 1.0, std::nullopt);
  const float* logp = pass.tokens().logp_N.const_data_ptr<float>();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].size() < 2) continue;
    result[i].assign(logp, logp + rows[i].size() - 1);
    logp += rows[i].size() - 1;
  }
  return result;
}

void write_scores(RowsWriter& out, const std::vector<std::vector<std::int32_t>>& rows,
                  const std::vector<std::vector<float>>& logprobs) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Json list = Json::array();
    if (!rows[i].empty()) list.push_back(nullptr);
    for (const float value : logprobs[i]) list.push_back(value);
    out.write_line(Json{{"ids", rows[i]}, {"logprobs", std::move(list)}}.dump());
  }
}

}  // namespace

int score_command(const std::vector<std::string>& words) {
  po::options_description options;
  options.add_options()("model", po::value<std::string>()->required(), "Hugging Face directory")(
      "in", po::value<std::string>()->required(), "JSONL rows {\"text\"} or {\"ids\"}")(
      "out", po::value<std::string>()->required(), "JSONL rows {\"ids\", \"logprobs\"}")(
      "dtype", po::value<std::string>()->default_value("fp32"), "compute type: fp32 or bf16")(
      "device", po::value<std::string>()->default_value("auto"), "auto (a GPU where there is one and the dtype is bf16), cpu or cuda")(
      "threads", po::value<int>()->default_value(0), "0: all cores")("no-special-tokens", "add no BOS to texts");
  const auto values = parse_own("score", words, options, {});
  use_threads(values["threads"].as<int>());
  const std::string folder = values["model"].as<std::string>();
  const Parameters loaded = load_parameters(folder, dtype_named(values["dtype"].as<std::string>()));
  const at::Device device = compute_device(values["device"].as<std::string>(), "--device", loaded.flat().scalar_type());
  const Transformer model(device.is_cpu() ? loaded : loaded.on(device));
  const Architecture& architecture = model.parameters().architecture();
  const auto rows = open_rows(values["in"].as<std::string>(), 0);
  std::optional<Tokenizer> tokenizer;  // only texts need one
  RowsWriter out(values["out"].as<std::string>());

  constexpr std::size_t kTokensAtOnce = 8192;
  std::vector<std::vector<std::int32_t>> batch;
  std::size_t tokens = 0;
  for (std::uint64_t i = 0; i < rows->size(); ++i) {
    const Row row = rows->in_order(i);
    if (row.json.contains("ids")) {
      batch.push_back(ids_of(row, architecture.vocabulary));
    } else {
      if (!tokenizer) tokenizer = Tokenizer::load(folder);
      batch.push_back(tokenizer->encode(text_of(row, "text"), values.count("no-special-tokens") == 0));
    }
    if (static_cast<std::int64_t>(batch.back().size()) > architecture.max_positions) {
      throw ConfigError(row.where + ": " + std::to_string(batch.back().size()) + " tokens, but the model has " +
                        std::to_string(architecture.max_positions) + " positions");
    }
    tokens += batch.back().size();
    if (tokens >= kTokensAtOnce || i + 1 == rows->size()) {
      write_scores(out, batch, scored(model, batch));
      batch.clear();
      tokens = 0;
    }
  }
  out.close();
  return 0;
}

}  // namespace troupe
