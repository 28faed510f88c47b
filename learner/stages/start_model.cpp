#include "learner/stages/start_model.h"

#include <sstream>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/base/files.h"
#include "common/base/random.h"
#include "common/data/rows.h"
#include "common/model/checkpoint_io.h"
#include "common/model/compute_device.h"
#include "learner/gathered_units.h"
#include "learner/stages/prompt_writer.h"
#include "learner/stages/supervised.h"
#include "learner/step_gradients.h"

namespace troupe {
namespace {

std::filesystem::path weights_of(const RunFolder& folder) { return folder.start() / "model.safetensors"; }

Architecture architecture_of(const ColdStartConfig& cold_start, const Tokenizer& tokenizer, std::int32_t end_id) {
  Architecture architecture;
  architecture.vocabulary = (tokenizer.vocabulary_size() + 7) / 8 * 8;  // the GEMMs like multiples of 8
  architecture.hidden = cold_start.hidden;
  architecture.intermediate = cold_start.intermediate;
  architecture.layers = cold_start.layers;
  architecture.heads = cold_start.heads;
  architecture.kv_heads = cold_start.kv_heads;
  architecture.head_size = cold_start.hidden / cold_start.heads;
  architecture.max_positions = cold_start.max_positions;
  architecture.eos_ids = {end_id};
  architecture.bos_id = -1;
  architecture.validate();
  return architecture;
}

/// What a cold start computes with: bf16 on a GPU where this rank has one, else `parameters` themselves.
Parameters computed_parameters(const Parameters& parameters, const Config& config, const Communicator& communicator) {
  const bool low = config.model.dtype == "bf16";
  const at::Device device =
      compute_device(config.learners.device, "learners.device", low ? at::kBFloat16 : at::kFloat, communicator.rank());
  return device.is_cuda() ? Parameters(parameters.architecture(), at::kBFloat16, device) : parameters;
}

/// cold_start.steps of SFT on cold_start.data; false on every rank where `stop` ended it. Of trained on GPUs `parameters` are rank 0's
/// alone. Collective.
bool imitate_(Parameters& parameters, const Config& config, const RunFolder& folder, Communicator& communicator,
              const std::function<bool()>& stop, const Logger& logger) {
  const Tokenizer tokenizer = Tokenizer::load(folder.start());
  const PromptWriter prompts(config.data, tokenizer, folder.start());
  const auto rows = open_rows(config.cold_start.data, seed_for(config.run.seed, Stream::kColdStart));
  OptimizerConfig adam = config.optimizer;
  adam.lr = config.cold_start.lr;
  adam.warmup_steps = config.cold_start.warmup_steps;
  adam.schedule = "cosine";
  adam.min_lr_ratio = 0.1;
  const std::int64_t steps = config.cold_start.steps;
  const Parameters computed = computed_parameters(parameters, config, communicator);
  const Transformer model(computed);
  ShardedOptimizer optimizer(computed, parameters.flat(), adam, steps, communicator);
  SupervisedTrainer trainer(
      model, optimizer,
      {config.cold_start.batch, config.batch.micro_tokens,
       [&](std::uint64_t number) { return SupervisedUnit{prompts.example(rows->at(number))}; }, next_token_objective()},
      communicator);
  for (std::int64_t step = 1; step <= steps; ++step) {
    const double loss = trainer.train(step).means[0];
    if (communicator.rank() == 0 && (step == 1 || step % 20 == 0 || step == steps)) {
      std::ostringstream line;
      line << "cold start: step " << step << "/" << steps << " loss " << loss;
      logger.info(line.str());
    }
    if (any_rank(stop && stop(), communicator) && step < steps) return false;
  }
  if (computed.flat().is_cuda()) {
    const at::Tensor master = optimizer.gather(optimizer.master(), "master parameters");
    if (master.defined()) parameters.flat().copy_(master);
  }
  return true;
}

at::ScalarType dtype_of(const Config& config) { return config.model.dtype == "bf16" ? at::kBFloat16 : at::kFloat; }

}  // namespace

std::filesystem::path start_folder(const Config& config, const RunFolder& folder) {
  return config.model.path.empty() ? folder.start() : std::filesystem::path(config.model.path);
}

at::Device learner_device(const Config& config, const Communicator& communicator) {
  const at::Device device = compute_device(config.learners.device, "learners.device", dtype_of(config), communicator.rank());
  if (device.is_cpu() && config.learners.offload != "none") {
    throw ConfigError("learners.offload = " + config.learners.offload + ": expected none on a CPU, everything lies in the host's memory there");
  }
  return device;
}

Parameters compute_parameters(const Config& config, const Architecture& architecture, LearnerRanks& ranks, bool offloaded) {
  const at::ScalarType dtype = dtype_of(config);
  const at::Device device = offloaded ? at::Device(at::kCPU) : learner_device(config, ranks.all());
  const bool sharded = !offloaded && zero_stage_of(config, ranks.all()) == 3;
  if (ranks.tensor()) {
    const auto cut = std::make_shared<TensorCut>(architecture, ranks.tensor());
    return sharded ? sharded_parameters(cut, dtype, ranks.shards(), device) : Parameters(cut, dtype, device);
  }
  return sharded ? sharded_parameters(architecture, dtype, ranks.shards(), device) : Parameters(architecture, dtype, device);
}

void prepare_start(const Config& config, const RunFolder& folder) {
  if (!config.model.path.empty()) return;
  std::filesystem::create_directories(folder.start());
  if (config.cold_start.tokenizer == "characters") {
    write_file_atomically(folder.start() / "tokenizer.json", character_tokenizer_json());
  } else {
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "vocab.json", "merges.txt",
                             "added_tokens.json"}) {
      const std::filesystem::path source = std::filesystem::path(config.cold_start.tokenizer) / name;
      if (std::filesystem::exists(source)) write_file_atomically(folder.start() / name, read_file(source));
    }
  }
  const Tokenizer tokenizer = Tokenizer::load(folder.start());
  const char* kEnd = "<|end|>";
  std::int32_t end_id = tokenizer.id_of(kEnd);
  for (const char* name : {"<|im_end|>", "<|endoftext|>", "</s>", "<|end_story|>"}) {
    if (end_id < 0) end_id = tokenizer.id_of(name);
  }
  if (end_id < 0) throw ConfigError("cold_start.tokenizer: " + config.cold_start.tokenizer + " has no end-of-text token that is known");
  const Architecture architecture = architecture_of(config.cold_start, tokenizer, end_id);
  write_file_atomically(folder.start() / "config.json", architecture_json(architecture).dump(2) + "\n");
}

bool make_start(const Config& config, const RunFolder& folder, Communicator& communicator, const std::function<bool()>& stop,
                const Logger& logger) {
  if (!config.model.path.empty() || std::filesystem::exists(weights_of(folder))) return true;
  fault::point("start.begin");
  const Architecture architecture = read_architecture(folder.start());
  Parameters parameters(architecture, at::kFloat);
  initialise_(parameters, seed_for(config.run.seed, Stream::kInitialWeights));
  if (config.cold_start.steps > 0 && !imitate_(parameters, config, folder, communicator, stop, logger)) return false;
  if (communicator.rank() == 0) save_hugging_face(parameters, folder.start(), folder.start());
  communicator.barrier();
  fault::point("start.end");
  return true;
}

}  // namespace troupe
