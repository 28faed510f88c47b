#include <filesystem>
#include <string>

#include "common/base/error.h"
#include "launch/commands.h"
#include "launch/generation.h"

namespace troupe {

namespace po = boost::program_options;

int generate_command(const std::vector<std::string>& words) {
  po::options_description options;
  options.add_options()("prompts", po::value<std::string>()->required(), "JSONL rows {\"prompt\"}, {\"messages\"} or {\"ids\"}; "
      "a row may have temperature, top_p, top_k, min_p, max_tokens, min_tokens, stop and seed of its own")(
      "out", po::value<std::string>()->required(), "JSONL, one line a completion; an unfinished one is gone on with")(
      "no-special-tokens", "add no BOS to prompts")(
      "template", po::value<std::string>()->default_value("model"), "template of messages: model, plain, r1_zero, chatml, llama3 or r1")(
      "date", po::value<std::string>()->default_value(""), "YYYY-MM-DD for templates that ask for today's date");
  Generation::add_options(options, {});
  const auto values = parse_own("generate", words, options, {});

  Generation generation(values);
  GenerateOptions& prompts = generation.options();
  const auto name = values["template"].as<std::string>();
  if (name != "model") prompts.prompt = ChatTemplate::named(name);
  prompts.date = values["date"].as<std::string>();
  prompts.refused_rows = RefusedRows::kWrite;
  prompts.special_tokens = values.count("no-special-tokens") == 0;

  const auto in = values["prompts"].as<std::string>(), out = values["out"].as<std::string>();
  std::error_code apart;
  if (std::filesystem::equivalent(in, out, apart)) throw ConfigError("--out " + out + " is the file of --prompts: expected another one");
  const auto rows = open_rows(in, 0);
  nlohmann::ordered_json terms = generation.terms(*rows);
  terms["template"] = name;
  terms["date"] = prompts.date;
  terms["special-tokens"] = prompts.special_tokens;
  CompletionsFile file(out, terms, prompts.samples);
  const std::uint64_t refused = generation.run(*rows, file);
  file.close();
  if (refused > 0) {
    throw ConfigError(std::to_string(refused) + " of " + std::to_string(rows->size()) + " rows were refused: their lines in " + out + " say why");
  }
  return 0;
}

}  // namespace troupe
