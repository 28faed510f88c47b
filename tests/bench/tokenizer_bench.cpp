// How fast a tokenizer encodes a file's lines on one thread, and the checksum of the ids for comparison with another's.
//   tokenizer_bench FOLDER FILE [ROUNDS]
// FOLDER has a tokenizer.json. Prints one JSON line; against_tokenizers.sh sets it beside Hugging Face's.

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/text.h"
#include "common/tokenizer/tokenizer.h"
#include "tests/bench/bench_line.h"

using namespace troupe;

namespace {

double thread_seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: tokenizer_bench FOLDER FILE [ROUNDS]\n";
    return 2;
  }
  try {
    const std::string text = read_file(argv[2]);
    const std::vector<std::string_view> lines = split(text, '\n');
    const int rounds = argc > 3 ? std::atoi(argv[3]) : 5;
    std::vector<double> rates;
    std::uint64_t tokens = 0;
    std::uint64_t checksum = 0;
    for (int round = 0; round < rounds; ++round) {
      const Tokenizer tokenizer = Tokenizer::load(argv[1]);  // each round learns the words anew
      tokens = checksum = 0;
      const double start = thread_seconds();
      for (const std::string_view line : lines) {
        const auto ids = tokenizer.encode(line, false);
        tokens += ids.size();
        for (const std::int32_t id : ids) checksum = checksum * 31 + static_cast<std::uint64_t>(id);
      }
      rates.push_back(static_cast<double>(text.size()) / (thread_seconds() - start) / 1e6);
    }
    std::cout << bench::with_origin({{"bench", "tokenizer"}, {"mb_per_s", bench::percentiles(rates)}, {"tokens", tokens}, {"checksum", checksum}}).dump() << "\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "tokenizer_bench: " << error.what() << "\n";
    return 1;
  }
}
