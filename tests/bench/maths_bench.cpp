// Verdicts of the maths verifier on pairs, and how many of them it decides in a second on one thread.
//   maths_bench PAIRS [VERDICTS] [ROUNDS]
// PAIRS has {"gold", "given"} a line, both as bare answers, or {"gold", "completion"}, where the answer is first looked for in
// the usual places. VERDICTS gets true or false a line. Prints one JSON line with the rate and the slowest pair.

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "rewarders/maths/equivalence.h"
#include "rewarders/maths/extraction.h"
#include "tests/bench/bench_line.h"

using namespace troupe;

namespace {

struct Pair {
  std::string gold;
  std::string text;
  bool is_completion = false;
};

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

std::vector<Pair> pairs_of(const std::string& path) {
  std::ifstream in(path);
  if (!in) throw ConfigError("cannot read " + path);
  std::vector<Pair> pairs;
  for (std::string line; std::getline(in, line);) {
    const auto row = nlohmann::json::parse(line);
    const bool completion = row.contains("completion");
    pairs.push_back({row.at("gold"), row.at(completion ? "completion" : "given"), completion});
  }
  return pairs;
}

bool verdict_on(const Pair& pair) {
  if (!pair.is_completion) return same_answer(pair.text, pair.gold);
  const auto answer = final_answer(pair.text, usual_answer_sources());
  return answer && same_answer(*answer, gold_answer(pair.gold));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: maths_bench PAIRS [VERDICTS] [ROUNDS]\n";
    return 2;
  }
  try {
    const std::vector<Pair> pairs = pairs_of(argv[1]);
    const int rounds = argc > 3 ? std::atoi(argv[3]) : 3;
    std::vector<double> rates;
    std::vector<bool> verdicts(pairs.size());
    double slowest_s = 0;
    std::size_t slowest = 0;
    for (int round = 0; round < rounds; ++round) {
      const double start = thread_seconds();
      double before = start;
      for (std::size_t i = 0; i < pairs.size(); ++i) {
        verdicts[i] = verdict_on(pairs[i]);
        const double now = thread_seconds();
        if (now - before > slowest_s) {
          slowest_s = now - before;
          slowest = i;
        }
        before = now;
      }
      rates.push_back(static_cast<double>(pairs.size()) / (before - start));
    }
    if (argc > 2) {
      std::ofstream out(argv[2]);
      for (const bool verdict : verdicts) out << (verdict ? "true\n" : "false\n");
      if (!out.flush()) throw ConfigError(std::string("cannot write ") + argv[2]);
    }
    std::cout << bench::with_origin({{"bench", "maths"}, {"pairs", pairs.size()}, {"pairs_per_s", bench::percentiles(rates)},
                                     {"slowest_ms", slowest_s * 1e3}, {"slowest_line", slowest + 1}}).dump() << "\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "maths_bench: " << error.what() << "\n";
    return 1;
  }
}
