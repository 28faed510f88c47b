#include "common/model/thread_ranks.h"

#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <ATen/Parallel.h>
#include <doctest/doctest.h>

#include <string>

#include "common/base/error.h"

using namespace troupe;

namespace {

std::string message_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_SUITE("model/thread_ranks") {
  TEST_CASE("a sum is taken in rank order and is the same on each, at every length") {
    for (const int count : {1, 2, 4}) {
      ThreadRanks ranks(count);
      for (const std::int64_t length : {0, 1, 63, 64, 65, 1000}) {
        CAPTURE(length);
        const auto term = [&](int rank) {
          return at::arange(length, at::kFloat).add_(1.7 * rank + 0.1).sin_().mul_(rank == 1 ? 1e4 : 1);
        };
        at::Tensor expected = term(0);
        for (int rank = 1; rank < count; ++rank) expected = expected + term(rank);
        std::vector<at::Tensor> found(static_cast<std::size_t>(count));
        ranks.run([&](int rank) {
          const at::Tensor values = term(rank);
          ranks.group(rank)->sum_(values);
          found[static_cast<std::size_t>(rank)] = values;
        });
        for (const at::Tensor& values : found) CHECK(values.equal(expected));
      }
    }
  }

  TEST_CASE("what is gathered lies in rank order, and the ranks know their places") {
    ThreadRanks ranks(4);
    ranks.run([&](int rank) {
      const auto group = ranks.group(rank);
      CHECK(group->rank() == rank);
      CHECK(group->size() == 4);
      const at::Tensor all = group->gather(at::full({2, 3}, rank, at::kLong));
      CHECK(all.equal(at::arange(4, at::kLong).view({4, 1, 1}).expand({4, 2, 3})));
    });
  }

  TEST_CASE("the ranks share out the caller's threads, who keeps them") {
    const int before = at::get_num_threads();
    at::set_num_threads(6);
    for (const auto& [count, share] : {std::pair(2, 3), std::pair(4, 1), std::pair(8, 1)}) {
      ThreadRanks ranks(count);
      ranks.run([share = share](int) { CHECK(at::get_num_threads() == share); });
      CHECK(at::get_num_threads() == 6);
    }
    at::set_num_threads(before);
  }

  TEST_CASE("a rank that fails ends the others' sums; its error is the caller's, and the ranks are of no use any more") {
    ThreadRanks ranks(4);
    std::atomic<int> others = 0;
    const std::string told = message_of([&] {
      ranks.run([&](int rank) {
        if (rank == 2) throw ConfigError("rank 2 does not like it");
        const std::string why = message_of([&] { ranks.group(rank)->sum_(at::zeros({8})); });
        others += why == "another rank of this model failed" ? 1 : 0;
        throw DeviceError(why);
      });
    });
    CHECK(told == "rank 2 does not like it");
    CHECK(others == 3);
    CHECK(message_of([&] { ranks.run([](int) {}); }) == "a rank of this model failed before");
  }
}
