#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/base/checksum.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/config/config.h"
#include "common/model/checkpoint_io.h"
#include "common/model/compute_device.h"
#include "launch/commands.h"
#include "launch/generator.h"
#include "launch/model_rows.h"
#include "learner/stages/progress.h"

namespace troupe {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

/// The file of completions, which a killed generation goes on with. Until it is complete, `PATH.unfinished` beside it says with
/// what options it was begun.
class CompletionsFile {
 public:
  /// @throws ConfigError where an unfinished file was begun with other options.
  CompletionsFile(const std::string& path, const nlohmann::ordered_json& terms, std::uint32_t samples)
      : path_(path), unfinished_(path + ".unfinished") {
    const bool resumable = !fs::exists(path) || fs::is_regular_file(path);  // a pipe or device is written as is
    if (resumable && fs::exists(unfinished_)) {
      resume(terms, samples);
    } else {
      out_.open(path_, std::ios::binary | std::ios::trunc);
    }
    if (!out_) throw ConfigError(path_ + ": cannot be written");
    if (resumable) write_file_atomically(unfinished_, terms.dump(2) + "\n");
  }

  std::uint64_t rows() const { return rows_; }
  std::ostream& out() { return out_; }

  void close() {
    out_.close();
    if (!out_) throw TransportError(path_ + ": writing failed (is the disk full?)");
    fs::remove(unfinished_);
  }

 private:
  /// Cuts the file behind its last whole row and opens it for more.
  void resume(const nlohmann::ordered_json& terms, std::uint32_t samples) {
    const auto before = nlohmann::ordered_json::parse(read_file(unfinished_), nullptr, false);
    for (const auto& [key, value] : terms.items()) {
      if (before.is_object() && before.contains(key) && before.at(key) == value) continue;
      const std::string found = before.is_object() && before.contains(key) ? before.at(key).dump() : "nothing";
      throw ConfigError(unfinished_ + ": " + path_ + " was begun with " + key + " = " + found + ", now it is " + value.dump() +
                        ": finish it with the same options, or delete " + unfinished_ + " to begin anew");
    }
    if (fs::exists(path_)) {
      const std::string text = read_file(path_);
      const auto lines = static_cast<std::uint64_t>(std::ranges::count(text, '\n'));
      rows_ = lines / samples;
      std::size_t end = 0;
      for (std::uint64_t line = 0; line < rows_ * samples; ++line) end = text.find('\n', end) + 1;
      fs::resize_file(path_, end);
    }
    out_.open(path_, std::ios::binary | std::ios::app);
  }

  std::string path_, unfinished_;
  std::ofstream out_;
  std::uint64_t rows_ = 0;  // complete before this start
};

/// Now and then a line about how far it is.
class GenerateProgress {
 public:
  explicit GenerateProgress(std::uint64_t rows, std::uint64_t done) : rows_(rows), first_(done) {}

  void report(const Generator& generator, const Engine& engine) {
    const Clock::time_point now = Clock::now();
    if (now - told_ < std::chrono::seconds(5)) return;
    told_ = now;
    const double elapsed = seconds();
    const auto written = static_cast<double>(generator.rows_written() - first_);
    std::cerr << generator.rows_written() << "/" << rows_ << " prompts  " << generator.tokens() << " tokens  "
              << static_cast<long>(static_cast<double>(generator.tokens()) / elapsed) << " tokens/s  " << engine.active() << " active";
    if (written > 0) {
      std::cerr << "  " << human_duration(elapsed / written * static_cast<double>(rows_ - generator.rows_written())) << " left";
    }
    std::cerr << std::endl;
  }

  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  std::uint64_t rows_, first_;
  Clock::time_point start_ = Clock::now(), told_ = start_;
};

po::options_description generate_words() {
  po::options_description options;
  options.add_options()("model", po::value<std::string>()->required(), "Hugging Face directory")(
      "prompts", po::value<std::string>()->required(), "JSONL rows {\"prompt\"}, {\"messages\"} or {\"ids\"}")(
      "out", po::value<std::string>()->required(), "JSONL, one line a completion; an unfinished one is gone on with")(
      "samples", po::value<std::uint32_t>()->default_value(1), "completions of each prompt")(
      "temperature", po::value<double>()->default_value(1.0), "0: the most probable token")(
      "top-p", po::value<double>()->default_value(1.0), "")("top-k", po::value<std::int32_t>()->default_value(0), "0: all")(
      "min-p", po::value<double>()->default_value(0.0), "")("max-tokens", po::value<std::int32_t>()->default_value(256), "")(
      "min-tokens", po::value<std::int32_t>()->default_value(0), "no stop before so many")(
      "stop", po::value<std::vector<std::string>>()->composing(), "a text that ends a completion; may be given several times")(
      "seed", po::value<std::uint64_t>()->default_value(1), "")("dtype", po::value<std::string>()->default_value("fp32"), "fp32 or bf16")(
      "device", po::value<std::string>()->default_value("auto"), "auto (a GPU where there is one and the dtype is bf16), cpu or cuda")(
      "slots", po::value<std::int64_t>()->default_value(0), "sequences generated at once; 0: 64 on a CPU, 256 on a GPU")(
      "kv-memory-gib", po::value<double>()->default_value(0), "for keys and values; 0: at most half of the machine's")(
      "threads", po::value<int>()->default_value(0), "0: all cores")("no-special-tokens", "add no BOS to prompts")(
      "template", po::value<std::string>()->default_value("model"), "template of messages: model, plain, r1_zero, chatml, llama3 or r1")(
      "date", po::value<std::string>()->default_value(""), "YYYY-MM-DD for templates that ask for today's date");
  return options;
}

GenerateOptions generate_options(const po::variables_map& values, const Architecture& architecture) {
  GenerateOptions options;
  SamplingParams& sampling = options.sampling;
  sampling.temperature = values["temperature"].as<double>();
  sampling.top_p = values["top-p"].as<double>();
  sampling.top_k = values["top-k"].as<std::int32_t>();
  sampling.min_p = values["min-p"].as<double>();
  sampling.max_tokens = values["max-tokens"].as<std::int32_t>();
  sampling.min_tokens = values["min-tokens"].as<std::int32_t>();
  sampling.stop_ids = architecture.eos_ids;
  if (values.count("stop") > 0) sampling.stop_texts = values["stop"].as<std::vector<std::string>>();
  options.samples = values["samples"].as<std::uint32_t>();
  if (options.samples == 0) throw ConfigError("--samples = 0: expected 1 or more");
  options.seed = values["seed"].as<std::uint64_t>();
  options.model = values["model"].as<std::string>();
  if (const auto name = values["template"].as<std::string>(); name != "model") options.prompt = ChatTemplate::named(name);
  options.date = values["date"].as<std::string>();
  options.special_tokens = values.count("no-special-tokens") == 0;
  return options;
}

/// Everything that a completion depends on.
nlohmann::ordered_json terms_of(const po::variables_map& values, const GenerateOptions& options, const RowSource& rows) {
  Hasher prompts;
  for (std::uint64_t i = 0; i < rows.size(); ++i) prompts.update(rows.in_order(i).json.dump() + "\n");
  return {{"model", fs::absolute(options.model).string()},
          {"prompts", prompts.hex()},
          {"samples", options.samples},
          {"temperature", options.sampling.temperature},
          {"top-p", options.sampling.top_p},
          {"top-k", options.sampling.top_k},
          {"min-p", options.sampling.min_p},
          {"max-tokens", options.sampling.max_tokens},
          {"min-tokens", options.sampling.min_tokens},
          {"stop", options.sampling.stop_texts},
          {"seed", options.seed},
          {"dtype", values["dtype"].as<std::string>()},
          {"template", values["template"].as<std::string>()},
          {"date", options.date},
          {"special-tokens", options.special_tokens}};
}

}  // namespace

int generate_command(const std::vector<std::string>& words) {
  const auto values = parse_own("generate", words, generate_words(), {});
  if (values["threads"].as<int>() > 0) at::set_num_threads(values["threads"].as<int>());
  const std::string folder = values["model"].as<std::string>();
  Parameters parameters = load_parameters(folder, dtype_named(values["dtype"].as<std::string>()));
  const Architecture architecture = parameters.architecture();
  const Tokenizer tokenizer = Tokenizer::load(folder);
  const GenerateOptions options = generate_options(values, architecture);

  EngineOptions engine_options;
  engine_options.on_gpu = compute_device(values["device"].as<std::string>(), "--device", parameters.flat().scalar_type()).is_cuda();
  const std::int64_t usual_slots = engine_options.on_gpu ? 256 : 64, slots = values["slots"].as<std::int64_t>();
  engine_options.slots = slots == 0 ? usual_slots : slots;
  engine_options.kv_memory_gib = values["kv-memory-gib"].as<double>();
  engine_options.tokenizer = &tokenizer;
  if (engine_options.slots < 1) throw ConfigError("--slots = " + std::to_string(engine_options.slots) + ": expected 0 or more");
  Engine engine(std::move(parameters), 0, engine_options);

  const auto rows = open_rows(values["prompts"].as<std::string>(), 0);
  nlohmann::ordered_json terms = terms_of(values, options, *rows);
  terms["device"] = engine_options.on_gpu ? "cuda" : "cpu";
  CompletionsFile file(values["out"].as<std::string>(), terms, options.samples);
  if (file.rows() > 0) std::cerr << "going on after " << file.rows() << " prompts\n";
  Generator generator(engine, tokenizer, architecture, *rows, file.rows(), options, file.out());
  GenerateProgress progress(rows->size(), file.rows());
  while (generator.rows_written() < rows->size() && generator.step()) progress.report(generator, engine);
  file.close();
  std::cerr << rows->size() << " prompts, " << generator.tokens() << " tokens, "
            << static_cast<long>(static_cast<double>(generator.tokens()) / progress.seconds()) << " tokens/s\n";
  return 0;
}

}  // namespace troupe
