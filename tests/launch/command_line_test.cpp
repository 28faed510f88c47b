#include "launch/command_line.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>

#include "common/base/error.h"

using namespace troupe;
namespace po = boost::program_options;

namespace {

po::variables_map parsed(const std::vector<std::string>& words) {
  po::options_description options;
  options.add_options()("seed", po::value<std::uint64_t>()->default_value(1))("samples", po::value<std::uint32_t>())(
      "threads", po::value<int>())("json", "");
  return parse_own("test", words, options, {"RUN"});
}

}  // namespace

TEST_SUITE("launch/command_line") {
  TEST_CASE("a count below 0 is refused by name, however it is written, and not taken for a large one") {
    CHECK_THROWS_WITH_AS(parsed({"r", "--seed", "-1"}), "--seed = -1: expected a whole number of at least 0", ConfigError);
    CHECK_THROWS_WITH_AS(parsed({"r", "--seed=-0"}), "--seed = -0: expected a whole number of at least 0", ConfigError);
    CHECK_THROWS_WITH_AS(parsed({"--samples", "-4294967295", "r"}), "--samples = -4294967295: expected a whole number of at least 0",
                         ConfigError);
  }

  TEST_CASE("what fits its type is taken: the greatest count, a number below 0 where one may stand, a dash in a name") {
    const auto values = parsed({"runs/-1", "--seed", "18446744073709551615", "--threads", "-1", "--samples=4294967295", "--json"});

    CHECK(values["seed"].as<std::uint64_t>() == std::numeric_limits<std::uint64_t>::max());
    CHECK(values["samples"].as<std::uint32_t>() == std::numeric_limits<std::uint32_t>::max());
    CHECK(values["threads"].as<int>() == -1);
    CHECK(values["RUN"].as<std::string>() == "runs/-1");
  }

  TEST_CASE("what does not fit its type, is not known, or is missing is refused with the command's usage") {
    for (const std::vector<std::string>& words : {std::vector<std::string>{"r", "--seed", "18446744073709551616"}, {"r", "--samples", "4294967296"},
                                                  {"r", "--seed", "1.5"}, {"r", "--see", "1"}, {"r", "--seed"}, {}, {"r", "s"}}) {
      CHECK_THROWS_WITH_AS(parsed(words), doctest::Contains("usage: troupe test RUN [options]"), ConfigError);
    }
  }

  TEST_CASE("--help gives the usage, whatever else stands there, and is no error of the user's") {
    CHECK_THROWS_WITH_AS(parsed({"--help"}), doctest::Contains("usage: troupe test RUN [options]\n  --seed arg (=1)"), UsageAsked);
    CHECK_THROWS_AS(parsed({"r", "--seed", "-1", "--help"}), UsageAsked);
  }

  TEST_CASE("keys of the configuration are told from a command's own options") {
    const Arguments arguments = split_arguments({"--run.seed", "-1", "c.cfg", "--loss.kl=k3", "--json"});

    CHECK(arguments.overrides == std::vector<std::string>{"--run.seed", "-1", "--loss.kl=k3"});
    CHECK(arguments.own == std::vector<std::string>{"c.cfg", "--json"});
  }
}
