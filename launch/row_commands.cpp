#include "common/config/config.h"
#include "launch/commands.h"
#include "launch/tokenize_command.h"

namespace troupe {

namespace po = boost::program_options;

int tokenize_command(const std::vector<std::string>& words) {
  po::options_description options;
  options.add_options()("model", po::value<std::string>()->required(), "folder with tokenizer.json")(
      "in", po::value<std::string>()->required(), "JSONL rows {\"text\"} or {\"ids\"}")(
      "out", po::value<std::string>()->required(), "JSONL rows {\"ids\", \"text\"}");
  const auto values = parse_own("tokenize", words, options, {});
  return run_tokenize(values["model"].as<std::string>(), values["in"].as<std::string>(), values["out"].as<std::string>());
}

}  // namespace troupe
