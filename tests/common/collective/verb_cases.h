#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/collective/communicator.h"

// Every verb of a Communicator against a naive loop that knows what each rank holds. Run by each rank, as a thread or
// under mpirun. CHECK, never REQUIRE: a rank that leaves would let the others wait.

namespace troupe::verb_cases {

/// What rank `rank` holds at `i`: magnitudes from 1e-4 to 1e8, so that a sum in another order has other bits.
template <class T>
T held(int rank, std::size_t i) {
  const std::uint64_t mixed = (static_cast<std::uint64_t>(rank) * 7919 + i + 1) * 0x9E3779B97F4A7C15ULL;
  const double unit = static_cast<double>(mixed >> 40) / static_cast<double>(1 << 24) - 0.5;
  return static_cast<T>(unit * std::pow(10.0, static_cast<double>(mixed % 13) - 4.0));
}

template <class T>
std::vector<T> held_by(int rank, std::size_t n) {
  std::vector<T> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = held<T>(rank, i);
  return values;
}

template <class T>
T naive_sum(int ranks, std::size_t i) {
  T sum = held<T>(0, i);
  for (int r = 1; r < ranks; ++r) sum = static_cast<T>(sum + held<T>(r, i));
  return sum;
}

template <class T>
std::size_t wrong_sums(std::span<const T> got, int ranks, std::size_t first) {
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < got.size(); ++i) wrong += got[i] != naive_sum<T>(ranks, first + i);
  return wrong;
}

template <class T>
void check_all_reduce(Communicator& ranks, std::size_t n) {
  CAPTURE(n);
  std::vector<T> data = held_by<T>(ranks.rank(), n);
  ranks.all_reduce_sum(std::span<T>(data), "data");
  CHECK(wrong_sums<T>(data, ranks.size(), 0) == 0);
}

inline void check_reduce_scatter(Communicator& ranks, std::size_t slice) {
  CAPTURE(slice);
  const std::vector<float> in = held_by<float>(ranks.rank(), slice * static_cast<std::size_t>(ranks.size()));
  std::vector<float> out(slice);
  ranks.reduce_scatter_sum(in, out, "gradient");
  CHECK(wrong_sums<float>(out, ranks.size(), slice * static_cast<std::size_t>(ranks.rank())) == 0);
}

inline void check_all_gather(Communicator& ranks, std::size_t slice, bool in_place) {
  CAPTURE(slice);
  std::vector<double> out(slice * static_cast<std::size_t>(ranks.size()), -1.0);
  std::vector<double> own = held_by<double>(ranks.rank(), slice);
  const std::span<double> place = std::span(out).subspan(slice * static_cast<std::size_t>(ranks.rank()), slice);
  if (in_place) std::copy(own.begin(), own.end(), place.begin());
  ranks.all_gather(std::as_bytes(in_place ? place : std::span(own)), std::as_writable_bytes(std::span(out)),
                   "parameters");
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < out.size(); ++i) wrong += out[i] != held<double>(static_cast<int>(i / slice), i % slice);
  CHECK(wrong == 0);
}

inline void check_broadcast(Communicator& ranks, int root, std::size_t n) {
  CAPTURE(root);
  std::vector<float> data = held_by<float>(ranks.rank(), n);
  ranks.broadcast(std::as_writable_bytes(std::span(data)), root, "weights");
  CHECK(data == held_by<float>(root, n));
}

inline void check_rank_order(Communicator& ranks) {
  // ((1e8 + 1) - 1e8) is 0 in fp32, any other order of the first three gives 1.
  const float holds[] = {1e8F, 1.0F, -1e8F};
  std::vector<float> data(100, ranks.rank() < 3 ? holds[ranks.rank()] : 0.0F);
  ranks.all_reduce_sum(std::span(data), "order");
  const float expected[] = {1e8F, 1e8F, 0.0F, 0.0F};
  CHECK(data[0] == expected[std::min(ranks.size(), 4) - 1]);
  CHECK(data[99] == data[0]);
}

/// All of it. Sizes: nothing, less than one element a rank, uneven slices, one round, two rounds, several pieces.
inline void check_every_verb(Communicator& ranks) {
  CAPTURE(ranks.rank());
  CAPTURE(ranks.size());
  for (const std::size_t n :
       {std::size_t{0}, std::size_t{1}, std::size_t{1000}, std::size_t{20001}, std::size_t{2'400'001}}) {
    check_all_reduce<float>(ranks, n);
  }
  for (const std::size_t n : {std::size_t{1}, std::size_t{30001}}) check_all_reduce<double>(ranks, n);
  for (const std::size_t slice : {std::size_t{0}, std::size_t{1}, std::size_t{17}, std::size_t{1'200'001}}) {
    check_reduce_scatter(ranks, slice);
  }
  for (const std::size_t slice : {std::size_t{1}, std::size_t{4097}}) {
    check_all_gather(ranks, slice, false);
    check_all_gather(ranks, slice, true);
  }
  for (int root = 0; root < ranks.size(); ++root) check_broadcast(ranks, root, 5000);
  check_rank_order(ranks);
  ranks.barrier();
  CHECK(ranks.progress().operation == "barrier");
  ranks.close();
}

}  // namespace troupe::verb_cases
