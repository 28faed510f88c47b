#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <optional>

#include <nlohmann/json.hpp>

#include "actors/engine.h"
#include "common/base/error.h"
#include "common/base/random.h"
#include "common/chat/chat_template.h"
#include "common/data/rows.h"
#include "common/model/checkpoint_io.h"
#include "common/tokenizer/tokenizer.h"
#include "launch/commands.h"
#include "learner/token_pass.h"

namespace troupe {
namespace {

namespace po = boost::program_options;
using Json = nlohmann::ordered_json;

at::ScalarType dtype_named(const std::string& name) {
  if (name == "fp32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  throw ConfigError("--dtype: expected fp32 or bf16, found '" + name + "'");
}

std::ofstream open_output(const std::string& path) {
  std::ofstream out(path);
  if (!out) throw ConfigError(path + ": cannot be written");
  return out;
}

void finish_output(std::ofstream& out, const std::string& path) {
  out.flush();
  if (!out) throw TransportError(path + ": writing failed (is the disk full?)");
}

std::vector<std::int32_t> ids_of(const Row& row, std::int64_t vocabulary) {
  std::vector<std::int32_t> ids;
  const auto& list = row.json.at("ids");
  if (!list.is_array()) throw ConfigError(row.where + ": `ids` must be a list of token ids, found " + list.dump());
  for (const auto& id : list) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() >= vocabulary) {
      throw ConfigError(row.where + ": `ids`: expected integers from 0 to " + std::to_string(vocabulary - 1) + ", found " + id.dump());
    }
    ids.push_back(id.get<std::int32_t>());
  }
  return ids;
}

std::string text_of(const Row& row, const char* key) {
  const auto found = row.json.find(key);
  if (found == row.json.end() || !found->is_string()) {
    throw ConfigError(row.where + ": expected a text under `" + key + "` or a list under `ids`, found " + row.json.dump().substr(0, 200));
  }
  return found->get<std::string>();
}

/// Scores rows [begin, end) in one pass; rows of fewer than two tokens have nothing to predict.
std::vector<std::vector<float>> scored(const Transformer& model, const std::vector<std::vector<std::int32_t>>& rows) {
  std::vector<TokenSequence> sequences;
  for (const auto& ids : rows) {
    if (ids.size() >= 2) sequences.push_back({ids, 1});
  }
  std::vector<std::vector<float>> result(rows.size());
  if (sequences.empty()) return result;
  const TokenPass pass(model, sequences, 1.0, false);
  const float* logp = pass.tokens().logp_N.const_data_ptr<float>();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].size() < 2) continue;
    result[i].assign(logp, logp + rows[i].size() - 1);
    logp += rows[i].size() - 1;
  }
  return result;
}

void write_scores(std::ofstream& out, const std::vector<std::vector<std::int32_t>>& rows,
                  const std::vector<std::vector<float>>& logprobs) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Json list = Json::array();
    if (!rows[i].empty()) list.push_back(nullptr);
    for (const float value : logprobs[i]) list.push_back(value);
    out << Json{{"ids", rows[i]}, {"logprobs", std::move(list)}}.dump() << '\n';
  }
}

struct GenerateOptions {
  SamplingParams sampling;
  std::uint32_t samples = 1;
  std::uint64_t seed = 1;
  bool special_tokens = true;
  std::string model;  // Hugging Face directory
  std::optional<ChatTemplate> prompt;  // of rows of messages; none: the model's
  std::string date;
};

/// Feeds rows to the engine, a bounded number at a time, and writes their completions in row order.
class Generator {
 public:
  Generator(Engine& engine, const Tokenizer& tokenizer, const Architecture& architecture, const RowSource& rows,
            GenerateOptions options, std::ofstream& out)
      : engine_(engine), tokenizer_(tokenizer), architecture_(architecture), rows_(rows), options_(std::move(options)), out_(out) {}

  std::uint64_t run() {
    constexpr std::int64_t kRequestsAhead = 256;
    while (written_ < rows_.size()) {
      while (submitted_ < rows_.size() && engine_.requests() < kRequestsAhead) submit(submitted_++);
      for (FinishedRequest& finished : engine_.step()) finished_.emplace(finished.id, std::move(finished.completions));
      for (auto next = finished_.find(written_); next != finished_.end(); next = finished_.find(written_)) {
        write(next->second);
        finished_.erase(next);
        prompts_.erase(written_++);
      }
    }
    return tokens_;
  }

 private:
  void submit(std::uint64_t number) {
    const Row row = rows_.in_order(number);
    Request request;
    request.id = number;
    request.group = number;
    if (row.json.contains("ids")) {
      request.prompt_ids = ids_of(row, architecture_.vocabulary);
      prompts_[number] = tokenizer_.decode(request.prompt_ids, false);
    } else if (row.json.contains("messages")) {
      prompts_[number] = rendered(row);
      request.prompt_ids = tokenizer_.encode(prompts_[number], options_.special_tokens && !options_.prompt->holds_special_tokens());
    } else {
      prompts_[number] = text_of(row, "prompt");
      request.prompt_ids = tokenizer_.encode(prompts_[number], options_.special_tokens);
    }
    request.samples = options_.samples;
    request.sampling = options_.sampling;
    request.seed = seed_for(options_.seed, Stream::kSampling);
    try {
      engine_.submit(std::move(request));
    } catch (const ConfigError& error) {
      throw ConfigError(row.where + ": " + error.what());
    }
  }

  /// The row's messages up to where the answer begins.
  std::string rendered(const Row& row) {
    ChatOptions chat;
    chat.add_generation_prompt = true;
    chat.tools = in_line_order(row, "tools");
    chat.date = options_.date;
    try {
      if (!options_.prompt) options_.prompt = ChatTemplate::from_model_folder(options_.model);
      return options_.prompt->render(in_line_order(row, "messages"), chat);
    } catch (const ConfigError& error) {
      throw ConfigError(row.where + ": " + error.what());
    }
  }

  void write(const std::vector<Completion>& completions) {
    for (const Completion& completion : completions) {
      tokens_ += completion.token_ids.size();
      out_ << Json{{"prompt", prompts_.at(written_)},
                   {"sample", completion.sample},
                   {"text", tokenizer_.decode(completion.token_ids, true)},
                   {"ids", completion.token_ids},
                   {"logprobs", completion.logprobs},
                   {"finish_reason", completion.finish_reason == FinishReason::kStop ? "stop" : "length"}}
                  .dump()
           << '\n';
    }
    out_.flush();
  }

  Engine& engine_;
  const Tokenizer& tokenizer_;
  const Architecture& architecture_;
  const RowSource& rows_;
  GenerateOptions options_;
  std::ofstream& out_;
  std::uint64_t submitted_ = 0;
  std::uint64_t written_ = 0;
  std::uint64_t tokens_ = 0;
  std::map<std::uint64_t, std::string> prompts_;
  std::map<std::uint64_t, std::vector<Completion>> finished_;
};

}  // namespace

int score_command(const std::vector<std::string>& words) {
  po::options_description options;
  options.add_options()("model", po::value<std::string>()->required(), "Hugging Face directory")(
      "in", po::value<std::string>()->required(), "JSONL rows {\"text\"} or {\"ids\"}")(
      "out", po::value<std::string>()->required(), "JSONL rows {\"ids\", \"logprobs\"}")(
      "dtype", po::value<std::string>()->default_value("fp32"), "compute type: fp32 or bf16")(
      "threads", po::value<int>()->default_value(0), "0: all cores")("no-special-tokens", "add no BOS to texts");
  const auto values = parse_own("score", words, options, {});
  if (values["threads"].as<int>() > 0) at::set_num_threads(values["threads"].as<int>());
  const std::string folder = values["model"].as<std::string>();
  const Transformer model(load_parameters(folder, dtype_named(values["dtype"].as<std::string>())));
  const Architecture& architecture = model.parameters().architecture();
  const auto rows = open_rows(values["in"].as<std::string>(), 0);
  std::optional<Tokenizer> tokenizer;  // only texts need one
  auto out = open_output(values["out"].as<std::string>());

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
  finish_output(out, values["out"].as<std::string>());
  return 0;
}

int generate_command(const std::vector<std::string>& words) {
  po::options_description options;
  options.add_options()("model", po::value<std::string>()->required(), "Hugging Face directory")(
      "prompts", po::value<std::string>()->required(), "JSONL rows {\"prompt\"}, {\"messages\"} or {\"ids\"}")(
      "out", po::value<std::string>()->required(), "JSONL, one line a completion")(
      "samples", po::value<std::uint32_t>()->default_value(1), "completions of each prompt")(
      "temperature", po::value<double>()->default_value(1.0), "0: the most probable token")(
      "top-p", po::value<double>()->default_value(1.0), "")("top-k", po::value<std::int32_t>()->default_value(0), "0: all")(
      "min-p", po::value<double>()->default_value(0.0), "")("max-tokens", po::value<std::int32_t>()->default_value(256), "")(
      "seed", po::value<std::uint64_t>()->default_value(1), "")("dtype", po::value<std::string>()->default_value("fp32"), "fp32 or bf16")(
      "slots", po::value<std::int64_t>()->default_value(64), "sequences generated at once")(
      "threads", po::value<int>()->default_value(0), "0: all cores")("no-special-tokens", "add no BOS to prompts")(
      "template", po::value<std::string>()->default_value("model"), "template of messages: model, plain, r1_zero, chatml, llama3 or r1")(
      "date", po::value<std::string>()->default_value(""), "YYYY-MM-DD for templates that ask for today's date");
  const auto values = parse_own("generate", words, options, {});
  if (values["threads"].as<int>() > 0) at::set_num_threads(values["threads"].as<int>());
  const std::string folder = values["model"].as<std::string>();
  Parameters parameters = load_parameters(folder, dtype_named(values["dtype"].as<std::string>()));
  const Architecture architecture = parameters.architecture();
  const Tokenizer tokenizer = Tokenizer::load(folder);

  GenerateOptions generate;
  generate.sampling = {values["temperature"].as<double>(), values["top-p"].as<double>(),      values["top-k"].as<std::int32_t>(),
                       values["min-p"].as<double>(),       values["max-tokens"].as<std::int32_t>(), architecture.eos_ids};
  generate.samples = values["samples"].as<std::uint32_t>();
  generate.seed = values["seed"].as<std::uint64_t>();
  generate.model = folder;
  if (const auto name = values["template"].as<std::string>(); name != "model") generate.prompt = ChatTemplate::named(name);
  generate.date = values["date"].as<std::string>();
  generate.special_tokens = values.count("no-special-tokens") == 0;
  EngineOptions engine_options;
  engine_options.slots = values["slots"].as<std::int64_t>();
  Engine engine(std::move(parameters), 0, engine_options);

  const auto rows = open_rows(values["prompts"].as<std::string>(), 0);
  auto out = open_output(values["out"].as<std::string>());
  const auto start = std::chrono::steady_clock::now();
  const std::uint64_t tokens = Generator(engine, tokenizer, architecture, *rows, generate, out).run();
  finish_output(out, values["out"].as<std::string>());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::cerr << rows->size() << " prompts, " << tokens << " tokens, " << static_cast<long>(static_cast<double>(tokens) / took.count())
            << " tokens/s\n";
  return 0;
}

}  // namespace troupe
