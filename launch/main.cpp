#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/model/kept_blocks.h"
#include "launch/commands.h"
#include "rewarders/verifier.h"

extern char** environ;

namespace {

using troupe::Environment;
using Words = std::vector<std::string>;

constexpr const char* kUsage =
    "troupe: distributed GRPO for reasoning language models\n\n"
    "  troupe run CONFIG [--strict] [--section.key value …]   supervise a whole run on this machine\n"
    "  troupe learner|actor|rewarder CONFIG         one role, as a rank of mpirun or srun, or by hand with --hub ENDPOINT\n"
    "  troupe pretrain CONFIG                       next-token training on plain text, from random weights or a model\n"
    "  troupe sft CONFIG                            supervised fine-tuning on prompts and completions, or conversations\n"
    "  troupe dpo CONFIG                            direct preference optimisation on chosen and rejected answers\n"
    "  troupe reward-model CONFIG                   a reward model from comparisons or judgements\n"
    "  troupe pipeline CONFIG                       stages in a row, each one of these commands, resumable\n"
    "  troupe generate --model DIR --prompts F --out F   completions of given prompts\n"
    "  troupe score    --model DIR --in F --out F   token log-probabilities of given texts\n"
    "  troupe tokenize --model DIR --in F --out F   token ids of given texts, and back\n"
    "  troupe grade    --reward NAME --in F --out F rewards of given rows\n"
    "  troupe eval     --model DIR --data F [--samples K]   pass@k, majority@k and lengths of answers\n"
    "  troupe select   --in F --out DIR             rejection sampling: the good ones of eval's answers, as rows for sft\n"
    "  troupe convert SRC DST                       a GGUF file or a model folder to a Hugging Face folder\n"
    "  troupe replay RUN --step N                   compute a step of a run again and compare, bit by bit\n"
    "  troupe inspect RUN [--audit] [--json] [--group ID] [--prune STEP]   a run at a glance, its ledger checked, one group's\n"
    "                                               life, old rollout logs deleted\n"
    "  troupe report RUN                            write RUN/report.html and RUN/trace.json\n"
    "  troupe doctor [CONFIG]                       what this machine has, and whether CONFIG can run on it\n"
    "  troupe keys                                  every configuration key with default, range and meaning\n\n"
    "Every role takes --run-dir DIR (default: runs/<name of CONFIG>). `troupe COMMAND --help` says more.\n";

Environment read_environment() {
  Environment environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const char* equals = std::strchr(*entry, '=');
    if (equals != nullptr) environment.emplace(std::string(*entry, static_cast<std::size_t>(equals - *entry)), equals + 1);
  }
  return environment;
}

int run_named(const std::string& name, const Words& words) {
  const Environment environment = read_environment();
  const std::map<std::string, std::function<int()>> commands = {
      {"run", [&] { return troupe::run_command(words, environment); }},
      {"learner", [&] { return troupe::learner_command(words, environment); }},
      {"actor", [&] { return troupe::actor_command(words, environment); }},
      {"rewarder", [&] { return troupe::rewarder_command(words, environment); }},
      {"sft", [&] { return troupe::sft_command(words, environment); }},
      {"pretrain", [&] { return troupe::pretrain_command(words, environment); }},
      {"dpo", [&] { return troupe::dpo_command(words, environment); }},
      {"reward-model", [&] { return troupe::reward_model_command(words, environment); }},
      {"score", [&] { return troupe::score_command(words); }},
      {"generate", [&] { return troupe::generate_command(words); }},
      {"tokenize", [&] { return troupe::tokenize_command(words); }},
      {"grade", [&] { return troupe::grade_command(words); }},
      {"eval", [&] { return troupe::eval_command(words); }},
      {"select", [&] { return troupe::select_command(words); }},
      {"pipeline", [&] { return troupe::pipeline_command(words); }},
      {"convert", [&] { return troupe::convert_command(words); }},
      {"replay", [&] { return troupe::replay_command(words); }},
      {"inspect", [&] { return troupe::inspect_command(words); }},
      {"report", [&] { return troupe::report_command(words); }},
      {"doctor", [&] { return troupe::doctor_command(words, environment); }},
      {"verifier", [] { return troupe::run_verifier(); }},
      {"keys", [] { std::cout << troupe::describe_keys(); return 0; }},
  };
  const auto command = commands.find(name);
  if (command == commands.end()) throw troupe::ConfigError("unknown command '" + name + "'\n\n" + kUsage);
  return command->second();
}

/// Runs the command; its exit code, with errors told on standard error.
int run_told(const Words& words) {
  try {
    return run_named(words[0], Words(words.begin() + 1, words.end()));
  } catch (const troupe::UsageAsked& usage) {
    std::cout << usage.what();
    return 0;
  } catch (const troupe::ConfigError& error) {
    std::cerr << "troupe " << words[0] << ": " << error.what() << '\n';
    return 2;
  } catch (const troupe::TransportError& error) {
    std::cerr << "troupe " << words[0] << ": " << error.what() << '\n';
    return 75;
  } catch (const std::exception& error) {
    std::cerr << "troupe " << words[0] << ": " << error.what() << '\n';
    return 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  troupe::keep_large_blocks();
  std::signal(SIGPIPE, SIG_IGN);  // a dead peer is an error code here, not the end of the process
  const Words words(argv + 1, argv + argc);
  if (words.empty() || words[0] == "--help" || words[0] == "help") {
    std::cout << kUsage;
    return words.empty() ? 2 : 0;
  }
  const int code = run_told(words);
  // What is the program's own is closed by now. The static destructors of libtorch are not run: built on Ubuntu 24.04 they
  // abort in std::locale ("free(): invalid pointer"), after all work is done.
  std::cout.flush();
  std::fflush(nullptr);
  _exit(code);
}
