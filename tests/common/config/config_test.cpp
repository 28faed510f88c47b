#include "common/config/config.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/base/text.h"
#include "common/config/options.h"

using namespace troupe;

namespace {

const std::string kAccuracy = "[reward.accuracy]\nkind = math\n";

Config parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_config(text, "a.cfg", overrides);
}

/// The message of the ConfigError that `text` with `overrides` ends in; "" where there is none.
std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse(text, overrides);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

Config complete() {
  return parse(
      "[model]\npath = some/model\n[data]\ntrain = a.jsonl:0.7,b.jsonl:0.3\n[reward.accuracy]\nkind = math\nweight = "
      "0.7\n");
}

}  // namespace

TEST_SUITE("config/config") {
  TEST_CASE("an empty file gives the defaults") { CHECK(parse("") == Config()); }

  TEST_CASE("every type of value is read, with comments, quotes and Windows line ends") {
    const Config config = parse(
        "# a comment\r\n[run]\r\nseed = 18446744073709551615\r\nexact = false\t# off\r\n"
        "; another\n[optimizer]\n  lr=5e-4   # the rate\nschedule = cosine\n"
        "[reward.a]\nkind = regex\nmark = a#b ; c\n",
        {"--reward.a.dashes=--x"});

    CHECK_FALSE(config.run.exact);
    CHECK(config.rewards.at(0).parameters.at("mark") == "a#b ; c");
    CHECK(config.rewards.at(0).parameters.at("dashes") == "--x");
    CHECK(config.run.seed == 18446744073709551615ull);
    CHECK(config.optimizer.lr == 5e-4);
    CHECK(config.optimizer.schedule == "cosine");
  }

  TEST_CASE("overrides beat the file in both spellings") {
    const Config config = parse("[run]\nsteps = 10\nseed = 2\n[data]\ntrain = x.jsonl\n",
                                {"--run.steps", "20", "--run.seed=3", "--data.train", ""});

    CHECK(config.run.steps == 20);
    CHECK(config.run.seed == 3);
    CHECK(config.data.train == "");
  }

  TEST_CASE("reward sections keep the file's order and their own keys") {
    const Config config = parse(
        "[reward.second]\nkind = format\nweight = -0.5\n[reward.first]\nkind = regex\npattern = \"#### (\\d+)\"\n",
        {"--reward.first.weight", "2", "--reward.third.kind=exact", "--reward.first.always", "true"});

    REQUIRE(config.rewards.size() == 3);
    CHECK(config.rewards[0] == RewardConfig{.name = "second", .kind = "format", .weight = -0.5, .parameters = {}});
    CHECK(config.rewards[1] == RewardConfig{.name = "first",
                                            .kind = "regex",
                                            .weight = 2,
                                            .parameters = {{"pattern", "#### (\\d+)"}, {"always", "true"}}});
    CHECK(config.rewards[2].kind == "exact");
  }

  TEST_CASE("bad input is named with file, line, value and what was expected") {
    struct Case {
      std::string text;
      std::vector<std::string> overrides;
      std::string message;
    };
    const std::string unknown_lr = "unknown key optimizer.lrr; the nearest known one is optimizer.lr";
    const Case cases[] = {
        {"[optimizer]\n\nlrr = 1\n", {}, "a.cfg:3: " + unknown_lr},
        {"", {"--optimizer.lrr", "1"}, "command line: " + unknown_lr},
        {"", {"--optimizer.lrr=1"}, "command line: " + unknown_lr},
        {"", {"--optimizer.l", "1"}, "command line: unknown key optimizer.l; the nearest known one is optimizer.lr"},
        {"steps = 1\n", {}, "a.cfg:1: unknown key steps; the nearest known one is run.steps"},
        {"[rewards.a]\nkind = math\n",
         {},
         "a.cfg:1: unknown section [rewards.a]; the nearest known one is [reward.NAME]"},
        {"[optimiser]\n", {}, "a.cfg:1: unknown section [optimiser]; the nearest known one is [optimizer]"},
        {"",
         {"--rewards.a.kind", "math"},
         "command line: unknown key rewards.a.kind; the nearest known one is reward.a.kind"},
        {"[run]\nsteps = abc\n", {}, "a.cfg:2: run.steps = abc: expected a whole number of at least 1"},
        {"[run]\nsteps = 1e3\n", {}, "a.cfg:2: run.steps = 1e3: expected a whole number of at least 1"},
        {"[run]\nsteps =\n", {}, "a.cfg:2: run.steps = : expected a whole number of at least 1"},
        {"[run]\nsteps = 99999999999999999999\n", {}, "run.steps = 99999999999999999999: expected"},
        {"[run]\nseed = -1\n", {}, "a.cfg:2: run.seed = -1: expected a whole number of at least 0"},
        {"[run]\nexact = yes\n", {}, "a.cfg:2: run.exact = yes: expected true or false"},
        {"",
         {"--group.size", "0"},
         "command line: group.size = 0: expected a whole number of at least 1 and at most 65536"},
        {"", {"--run.max_lag", "-1"}, "command line: run.max_lag = -1: expected a whole number of at least 0"},
        {"",
         {"--optimizer.lr", "nan"},
         "command line: optimizer.lr = nan: expected a number of at least 0 and at most 1"},
        {"", {"--optimizer.lr=inf"}, "optimizer.lr = inf: expected a number"},
        {"", {"--optimizer.lr", "0.1x"}, "optimizer.lr = 0.1x: expected a number"},
        {"", {"--optimizer.lr", "-0.1"}, "optimizer.lr = -0.1: expected a number of at least 0"},
        {"", {"--optimizer.eps", "0"}, "optimizer.eps = 0: expected a number above 0"},
        {"", {"--optimizer.beta1", "1"}, "optimizer.beta1 = 1: expected a number of at least 0 and below 1"},
        {"", {"--sampling.top_p", "0"}, "sampling.top_p = 0: expected a number above 0 and at most 1"},
        {"", {"--sampling.top_p", "1.01"}, "sampling.top_p = 1.01: expected a number above 0 and at most 1"},
        {"", {"--model.dtype", "fp16"}, "model.dtype = fp16: expected one of fp32, bf16"},
        {"", {"--actors.weights", "nfs"}, "actors.weights = nfs: expected one of auto, shm, nccl, stream"},
        {"", {"--deadline.lease_s", "0"}, "deadline.lease_s = 0: expected a number above 0"},
        {"[run]\nseed = 1\nseed = 2\n", {}, "a.cfg:3: key run.seed is given twice, first at a.cfg:2"},
        {"run.seed = 1\n[run]\nseed = 2\n", {}, "a.cfg:3: key run.seed is given twice, first at a.cfg:1"},
        {"[run]\n[data]\n[run]\n", {}, "a.cfg:3: section [run] is given twice, first at a.cfg:1"},
        {"", {"--run.seed", "1", "--run.seed=2"}, "command line: key run.seed is given twice"},
        {"[run\nseed = 1\n", {}, "a.cfg:1: expected [section], found '[run'"},
        {"[]\n", {}, "a.cfg:1: expected [section], found '[]'"},
        {"[run]\nseed 1\n", {}, "a.cfg:2: expected key = value, found 'seed 1'"},
        {"[run]\n= 1\n", {}, "a.cfg:2: expected key = value, found '= 1'"},
        {"[data]\ntrain = \"a\n", {}, "a.cfg:2: the quoted value has no closing quote"},
        {"[data]\ntrain = \"a\" b\n", {}, "a.cfg:2: expected nothing after the closing quote, found 'b'"},
        {"", {"--run.seed"}, "command line: the required argument for option '--run.seed' is missing"},
        {"",
         {"--run.seed", "--run.steps", "3"},
         "command line: expected a value after --run.seed, found '--run.steps'"},
        {"", {"seed=3"}, "command line: expected --section.key value, found 'seed=3'"},
        {"[reward.a]\n", {}, "a.cfg: reward.a.kind is missing"},
        {"[reward.a]\nweight = 1\n", {}, "reward.a.kind is missing"},
        {"[reward.a]\nkind = math\nweight = inf\n", {}, "a.cfg:3: reward.a.weight = inf: expected a number"},
        {"[reward.a b]\nkind = math\n", {}, "[reward.a b]: expected a name of letters, digits, _ and -"},
        {"[reward.]\nkind = math\n", {}, "a.cfg:1: unknown section [reward.]; the nearest known one is [reward.NAME]"},
        {"", {"--reward.kind", "math"}, "command line: expected a key of the form reward.NAME.key, found reward.kind"},
    };

    for (const Case& c : cases) {
      CAPTURE(c.text);
      CAPTURE(c.overrides);
      const std::string message = error_of(c.text, c.overrides);
      CAPTURE(message);
      CHECK(message.find(c.message) != std::string::npos);
    }
  }

  TEST_CASE("keys that contradict one another are named") {
    struct Case {
      std::vector<std::string> overrides;
      std::string message;
    };
    const Case cases[] = {
        {{"--batch.prompts", "2", "--batch.updates", "3"}, "batch.updates = 3: expected at most batch.prompts = 2"},
        {{"--loss.dual_clip", "1"}, "loss.dual_clip = 1: expected 0 (off) or a number above 1"},
        {{"--sampling.stop=</answer>"}, "sampling.stop = </answer>: expected a JSON array of 1 to 16 strings"},
        {{"--sampling.stop=[\"a\", \"\"]"}, "sampling.stop"},
        {{"--sampling.stop=[3]"}, "sampling.stop"},
        {{"--sampling.min_tokens=8", "--sampling.max_tokens=8"}, "sampling.min_tokens = 8: expected less than"},
        {{"--loss.overlong_buffer=9", "--sampling.max_tokens=8"}, "loss.overlong_buffer = 9: expected at most"},
        {{"--group.size", "1"}, "group.size = 1: loss.advantage = grpo compares"},
        {{"--checkpoint.keep_best", "true"}, "checkpoint.keep_best = true: expected eval.every above 0"},
        {{"--model.path", "m", "--cold_start.steps", "5"},
         "model.path = m: expected it empty, because cold_start.steps = 5"},
        {{"--cold_start.steps=5", "--cold_start.heads=3"},
         "cold_start.heads = 3: expected a divisor of cold_start.hidden = 128"},
        {{"--cold_start.steps=5", "--cold_start.kv_heads=3"},
         "cold_start.kv_heads = 3: expected a divisor of cold_start.heads = 4"},
        {{"--cold_start.steps=5", "--cold_start.hidden=12"}, "expected an even head size"},
        {{"--loss.reference_refresh_steps=9", "--loss.kl=none"}, "loss.reference_refresh_steps = 9: expected 0, because there is no KL term"},
        {{"--loss.reference_refresh_steps=9", "--loss.kl_coef=0"}, "loss.reference_refresh_steps = 9: expected 0"},
        {{"--lora.rank=2", "--lora.targets=q_proj, nosuch"}, "of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, found 'nosuch'"},
        {{"--lora.rank=2", "--lora.targets=q_proj,q_proj"}, "expected each of its names once"},
        {{"--hub.bind", "localhost:5555"}, "hub.bind = localhost:5555: expected tcp://ADDRESS:PORT"},
        {{"--hub.bind", "tcp://*"}, "hub.bind = tcp://*: expected tcp://ADDRESS:PORT"},
        {{"--hub.bind", "tcp://0.0.0.0:*"}, "hub.bind = tcp://0.0.0.0:*: other machines reach this address"},
    };

    for (const Case& c : cases) {
      CAPTURE(c.overrides);
      const std::string message = error_of("", c.overrides);
      CAPTURE(message);
      CHECK(message.find(c.message) != std::string::npos);
    }
  }

  TEST_CASE("the allowed neighbours of those limits pass") {
    CHECK_NOTHROW(parse("", {"--batch.prompts", "3", "--batch.updates", "3"}));
    CHECK_NOTHROW(parse("", {"--loss.dual_clip", "1.5", "--loss.overlong_buffer=8", "--sampling.max_tokens=8"}));
    CHECK_NOTHROW(parse("", {"--group.size", "1", "--loss.advantage", "reinforce_pp"}));
    CHECK_NOTHROW(parse("", {"--group.size", "1", "--loss.advantage", "gae", "--critic.lr", "1e-4"}));
    CHECK_THROWS_WITH_AS(parse("", {"--critic.lr", "1e-4"}), doctest::Contains("[critic]: nothing reads it with loss.advantage = grpo"), ConfigError);
    CHECK_NOTHROW(parse("", {"--group.size", "2", "--sampling.top_p", "1", "--optimizer.lr", "0"}));
    CHECK_NOTHROW(parse("", {"--cold_start.heads=3"}));  // not used without steps
    CHECK_NOTHROW(parse("", {"--hub.bind=tcp://0.0.0.0:5555", "--hub.insecure=true"}));
    CHECK_NOTHROW(parse("", {"--hub.bind=tcp://localhost:5555"}));
    CHECK_NOTHROW(parse("", {"--loss.reference_refresh_steps=9"}));
    CHECK_NOTHROW(parse("", {"--lora.rank=2", "--lora.targets=q_proj, down_proj"}));
    CHECK_NOTHROW(parse("", {"--lora.targets=nosuch"}));  // not used without a rank
  }

  TEST_CASE("values set in code are checked as those of a file are") {
    Config config;
    config.optimizer.lr = std::numeric_limits<double>::quiet_NaN();
    CHECK_THROWS_WITH_AS(config.validate(), "optimizer.lr = nan: expected a number of at least 0 and at most 1",
                         ConfigError);

    config = Config();
    config.rewards = {{.name = "a", .kind = "math"}, {.name = "a", .kind = "math"}};
    CHECK_THROWS_WITH_AS(config.validate(), "[reward.a] is given twice", ConfigError);
  }

  TEST_CASE("every recipe of the repository is a complete training configuration, or one of a supervised stage") {
    const std::set<std::string> supervised = {"pretrain_shakespeare_cpu", "sft_answers_cpu", "dpo_politeness_cpu", "tinystories_reward_cpu",
                                              "tinystories_harmless_cpu"};
    std::size_t recipes = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(std::filesystem::path(TROUPE_TEST_DATA) / "../configs")) {
      if (entry.path().extension() != ".cfg") continue;
      const std::string path = entry.path().string();
      CAPTURE(path);
      ++recipes;
      const Config config = load_config(path, {});
      if (!supervised.contains(entry.path().stem().string())) {
        CHECK_NOTHROW(config.validate_for_training());
        continue;
      }
      CHECK(config.rewards.empty());
      CHECK(!config.data.train.empty());
      CHECK(!config.data.eval.empty());
      CHECK((!config.model.path.empty() || config.cold_start.hidden > 0));
    }
    CHECK(recipes >= supervised.size() + 3);
  }

  TEST_CASE("a file that is not there is named") {
    CHECK_THROWS_WITH_AS(load_config("no/such.cfg", {}), "cannot open no/such.cfg: No such file or directory",
                         ConfigError);
  }
}

TEST_SUITE("config/validate_for_training") {
  TEST_CASE("what a training run needs is asked for one by one, and only there") {
    const auto message_of = [](const Config& config) -> std::string {
      config.validate();
      try {
        config.validate_for_training();
      } catch (const ConfigError& error) {
        return error.what();
      }
      return "";
    };
    const auto changed = [](const auto& change) {
      Config config = complete();
      change(config);
      return config;
    };

    CHECK(message_of(complete()) == "");
    CHECK(message_of(changed([](Config& c) { c.model.path = ""; })).starts_with("model.path is empty"));
    CHECK(message_of(changed([](Config& c) {
            c.model.path = "";
            c.cold_start.steps = 5;
          })).starts_with("cold_start.data is empty"));
    CHECK(message_of(changed([](Config& c) { c.data.train = ""; })).starts_with("data.train is empty"));
    CHECK(message_of(changed([](Config& c) { c.eval.every = 5; })).starts_with("data.eval is empty"));
    CHECK(message_of(changed([](Config& c) { c.rewards.clear(); })).starts_with("no [reward.NAME] section"));
    CHECK(message_of(changed([](Config& c) { c.sampling.temperature = 0; })).starts_with("sampling.temperature = 0"));
  }
}

TEST_SUITE("config/print") {
  TEST_CASE("a printed configuration reads back equal, whatever its values") {
    Config config = complete();
    config.run.seed = std::numeric_limits<std::uint64_t>::max();
    config.optimizer.lr = 1.0 / 3;
    config.optimizer.eps = 5e-324;
    config.sampling.temperature = 0.1;
    config.data.train = " starts with a space, has # in it ";
    config.data.question_key = "\"quoted\" # not";
    config.data.eval = "#1";
    config.rewards.push_back(
        {.name = "b-2", .kind = "regex", .weight = 1e-7, .parameters = {{"pattern", "\"a\"\"#"}, {"empty", ""}}});

    const std::string text = print_config(config);

    CAPTURE(text);
    CHECK(parse(text) == config);
    CHECK(parse(print_config(Config())) == Config());
    CHECK(text.find("temperature = 0.1\n") != std::string::npos);
  }

  TEST_CASE("a value with a line break cannot be printed") {
    Config config;
    config.data.train = "a\nb";
    CHECK_THROWS_AS(print_config(config), ConfigError);
  }

  TEST_CASE("every key is described once and its default is in range") {
    const std::string text = describe_keys();
    std::set<std::string> keys;

    for (const Option& option : config_options()) {
      CAPTURE(option.key);
      CHECK(keys.insert(option.key).second);
      CHECK(text.find(option.key + " = ") != std::string::npos);
      CHECK(option.in_range(Config()));
      CHECK_FALSE(option.help.empty());
    }
    CHECK(text.find("optimizer.lr = 1e-06  (a number of at least 0 and at most 1) learning rate") != std::string::npos);
  }

  TEST_CASE("each key reads and prints a member of its own") {
    // Every key set to a value other than its default changes exactly its own printed value.
    const std::vector<std::string> texts = {"true", "false",   "0.5",    "0.25",   "1",    "2",
                                            "7",    "bf16",    "linear", "gspo",   "k1",   "reward",
                                            "rloo", "dr_grpo", "shm",    "finish", "drop", "r1_zero", "cuda", "block", "optimizer"};
    for (const Option& option : config_options()) {
      CAPTURE(option.key);
      Config config;
      const std::string before = option.get(config);
      const auto text = std::find_if(texts.begin(), texts.end(),
                                     [&](const std::string& t) { return t != before && option.set(config, t); });
      REQUIRE(text != texts.end());
      CHECK(option.get(config) == *text);
      int changed = 0;
      for (const Option& other : config_options()) changed += other.get(config) != other.get(Config());
      CHECK(changed == 1);
    }
  }
}

TEST_SUITE("config/config_hash") {
  TEST_CASE("the hash follows the keys that change numbers and no others") {
    const Config base = complete();
    const std::string hash = config_hash(base);
    const auto differs = [&](const std::vector<std::string>& overrides) {
      const Config other = parse(print_config(base), overrides);
      CHECK(config_differences(base, other).empty() == (config_hash(other) == hash));
      return config_hash(other) != hash;
    };

    for (const char* key :
         {"--run.seed=2", "--run.max_lag=1", "--group.size=4", "--optimizer.lr=2e-6", "--loss.kl=none",
          "--batch.micro_tokens=8", "--data.train=c.jsonl", "--reward.accuracy.weight=0.6",
          "--reward.accuracy.kind=exact", "--reward.accuracy.more=1", "--reward.b.kind=exact"}) {
      CAPTURE(key);
      CHECK(differs({key}));
    }
    for (const char* key : {"--learners.count=2", "--actors.count=3", "--actors.threads=2", "--rewarders.count=2",
                            "--deadline.lease_s=5", "--checkpoint.every=7", "--run.steps=1000",
                            "--model.path=elsewhere", "--eval.prompts=3", "--hub.ahead=2", "--run.hash_every=0"}) {
      CAPTURE(key);
      CHECK_FALSE(differs({key}));
    }
  }

  TEST_CASE("the order of rewards changes the hash, because their sum depends on it") {
    const Config a = parse("[reward.x]\nkind = math\n[reward.y]\nkind = exact\n");
    const Config b = parse("[reward.y]\nkind = exact\n[reward.x]\nkind = math\n");

    CHECK(config_hash(a) != config_hash(b));
  }

  TEST_CASE("differences name key and both values; fewer steps are one, more are none") {
    const Config a = parse(kAccuracy);
    const Config b = parse(kAccuracy, {"--optimizer.lr", "0.5", "--reward.accuracy.digits", "3", "--run.steps", "99"});

    CHECK(config_differences(a, a).empty());
    CHECK(config_differences(a, b) == std::vector<std::string>{"optimizer.lr: 1e-06 -> 0.5",
                                                               "reward.accuracy.digits: (not there) -> 3",
                                                               "run.steps: 100 -> 99"});
    CHECK(config_differences(a, parse(kAccuracy, {"--run.steps", "101"})).empty());
  }
}
