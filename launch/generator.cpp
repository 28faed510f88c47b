#include "launch/generator.h"

#include <iostream>
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
  for (const FinishedRequest& finished : engine_.step()) {
    const auto asked = asked_.find(finished.id);
    lines_.emplace(finished.id, lines_of(asked->second, finished.completions));
    asked_.erase(asked);
  }
  for (auto next = lines_.find(written_); next != lines_.end(); next = lines_.find(++written_)) {
    out_ << next->second << std::flush;
    lines_.erase(next);
  }
  return written_ < rows_.size();
}

void Generator::submit(std::uint64_t number) {
  const Row row = rows_.in_order(number);
  try {
    Asked asked;
    Request request = request_of(row, asked);
    request.id = number;
    if (!row_seed(row)) request.group = number;
    engine_.submit(std::move(request));
    asked_.emplace(number, std::move(asked));
  } catch (const ConfigError& error) {
    const std::string what = error.what();
    const std::string named = what.starts_with(row.where) ? what : row.where + ": " + what;
    if (options_.refused_rows == RefusedRows::kThrow) throw ConfigError(named);
    std::cerr << "refused: " << named << '\n';
    lines_.emplace(number, refusal_of(named));
    ++refused_;
  }
}

Request Generator::request_of(const Row& row, Asked& asked) {
  Request request;
  if (row.json.contains("ids")) {
    request.prompt_ids = ids_of(row, architecture_.vocabulary);
    asked.prompt = tokenizer_.decode(request.prompt_ids, false);
  } else if (row.json.contains("messages")) {
    asked.prompt = rendered(row);
    request.prompt_ids = tokenizer_.encode(asked.prompt, options_.special_tokens && !options_.prompt->holds_special_tokens());
  } else {
    asked.prompt = text_of(row, "prompt");
    request.prompt_ids = tokenizer_.encode(asked.prompt, options_.special_tokens);
  }
  request.samples = options_.samples;
  request.sampling = row_sampling(row, options_.sampling);
  request.seed = seed_for(row_seed(row).value_or(options_.seed), Stream::kSampling);
  asked.sampling = request.sampling;
  return request;
}

/// The row's messages up to where the answer begins.
std::string Generator::rendered(const Row& row) {
  ChatOptions chat;
  chat.add_generation_prompt = true;
  chat.tools = in_line_order(row, "tools");
  chat.date = options_.date;
  if (!options_.prompt) options_.prompt = ChatTemplate::from_model_folder(options_.model);
  return options_.prompt->render(in_line_order(row, "messages"), chat);
}

std::string Generator::lines_of(const Asked& asked, const std::vector<Completion>& completions) const {
  std::string lines;
  for (const Completion& completion : completions) {
    const nlohmann::ordered_json line = {{"prompt", asked.prompt},
                                         {"sample", completion.sample},
                                         {"text", completion_text(completion, asked.sampling, tokenizer_)},
                                         {"ids", completion.token_ids},
                                         {"logprobs", completion.logprobs},
                                         {"finish_reason", completion.finish_reason == FinishReason::kStop ? "stop" : "length"}};
    lines += line.dump() + "\n";
  }
  return lines;
}

std::string Generator::refusal_of(const std::string& error) const {
  std::string lines;
  for (std::uint32_t sample = 0; sample < options_.samples; ++sample) {
    const nlohmann::ordered_json line = {{"error", error}, {"sample", sample}};
    lines += line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";  // a quoted value may end within a character
  }
  return lines;
}

}  // namespace troupe
