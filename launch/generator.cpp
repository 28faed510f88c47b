#include "launch/generator.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "actors/completion_text.h"
#include "common/base/error.h"
#include "common/base/random.h"
#include "launch/model_rows.h"
#include "launch/row_sampling.h"

namespace troupe {
namespace {

constexpr std::int64_t kRequestsAhead = 256;

}  // namespace

Generator::Generator(Engine& engine, const Tokenizer& tokenizer, const Architecture& architecture, const RowSource& rows,
                     std::uint64_t first, GenerateOptions options, std::ostream& out)
    : engine_(engine),
      tokenizer_(tokenizer),
      architecture_(architecture),
      rows_(rows),
      options_(std::move(options)),
      out_(out),
      submitted_(first),
      written_(first) {}

bool Generator::step() {
  while (submitted_ < rows_.size() && engine_.requests() < kRequestsAhead) submit(submitted_++);
  for (FinishedRequest& finished : engine_.step()) finished_.emplace(finished.id, std::move(finished.completions));
  for (auto next = finished_.find(written_); next != finished_.end(); next = finished_.find(written_)) {
    write(next->second);
    finished_.erase(next);
    sampling_.erase(written_);
    prompts_.erase(written_++);
  }
  return written_ < rows_.size();
}

void Generator::submit(std::uint64_t number) {
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
  request.sampling = row_sampling(row, options_.sampling);
  const auto own_seed = row_seed(row);
  if (own_seed) request.group = 0;  // wherever the row stands
  request.seed = seed_for(own_seed.value_or(options_.seed), Stream::kSampling);
  sampling_[number] = request.sampling;
  try {
    engine_.submit(std::move(request));
  } catch (const ConfigError& error) {
    throw ConfigError(row.where + ": " + error.what());
  }
}

/// The row's messages up to where the answer begins.
std::string Generator::rendered(const Row& row) {
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

void Generator::write(const std::vector<Completion>& completions) {
  for (const Completion& completion : completions) {
    out_ << nlohmann::ordered_json{{"prompt", prompts_.at(written_)},
                                   {"sample", completion.sample},
                                   {"text", completion_text(completion, sampling_.at(written_), tokenizer_)},
                                   {"ids", completion.token_ids},
                                   {"logprobs", completion.logprobs},
                                   {"finish_reason", completion.finish_reason == FinishReason::kStop ? "stop" : "length"}}
                .dump()
         << '\n';
  }
  out_.flush();
}

}  // namespace troupe
