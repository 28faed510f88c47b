#pragma once

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "common/model/architecture.h"

namespace troupe::bench {

/// Seconds of wall time, or of this process's CPU time (for one thread on a machine that others use).
struct Stopwatch {
  bool cpu_time = false;
  double now() const {
    if (!cpu_time) return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }
};

/// Seconds of each of `samples` runs, after one that warms up.
template <typename Run>
std::vector<double> time_runs(const Stopwatch& stopwatch, std::size_t samples, const Run& run) {
  run();
  std::vector<double> seconds;
  for (std::size_t i = 0; i < samples; ++i) {
    const double start = stopwatch.now();
    run();
    seconds.push_back(stopwatch.now() - start);
  }
  return seconds;
}

/// [outputs, inputs] of the matrix products that one token takes, head included.
inline std::vector<std::pair<std::int64_t, std::int64_t>> token_products(const Architecture& a) {
  std::vector<std::pair<std::int64_t, std::int64_t>> products;
  for (std::int64_t layer = 0; layer < a.layers; ++layer) {
    products.push_back({(a.heads + 2 * a.kv_heads) * a.head_size, a.hidden});
    products.push_back({a.hidden, a.heads * a.head_size});
    products.push_back({2 * a.intermediate, a.hidden});
    products.push_back({a.hidden, a.intermediate});
  }
  products.push_back({a.vocabulary, a.hidden});
  return products;
}

/// The bound that the model's throughput is a share of: the time that ATen's matrix products alone take for `rows` tokens,
/// each product over all rows in one call, into memory that is there. `backward` adds the two products of each gradient.
/// Each distinct shape is timed by itself (median), so that the bound has warm caches.
inline double gemm_seconds(const Stopwatch& stopwatch, const Architecture& a, std::int64_t rows, at::ScalarType dtype,
                           bool backward) {
  std::vector<std::pair<std::int64_t, std::int64_t>> products = token_products(a);
  std::sort(products.begin(), products.end());
  double total = 0, last = 0;
  std::pair<std::int64_t, std::int64_t> timed{0, 0};
  for (const auto& [outputs, inputs] : products) {
    if (timed != std::pair(outputs, inputs)) {
      const at::Tensor x = at::randn({rows, inputs}).to(dtype), w = at::randn({outputs, inputs}).to(dtype),
                       g = at::randn({rows, outputs}).to(dtype);
      at::Tensor y = at::empty_like(g), dx = at::empty_like(x), dw = at::empty_like(w);
      std::vector<double> seconds = time_runs(stopwatch, 9, [&] {
        at::mm_out(y, x, w.t());
        if (backward) {
          at::mm_out(dx, g, w);
          at::mm_out(dw, g.t(), x);
        }
      });
      std::nth_element(seconds.begin(), seconds.begin() + 4, seconds.end());
      last = seconds[4];
      timed = {outputs, inputs};
    }
    total += last;
  }
  return total;
}

/// Floating-point operations of those products.
inline double gemm_operations(const Architecture& a, std::int64_t rows, bool backward) {
  double operations = 0;
  for (const auto& [outputs, inputs] : token_products(a)) {
    operations += (backward ? 6.0 : 2.0) * static_cast<double>(rows) * static_cast<double>(outputs * inputs);
  }
  return operations;
}

}  // namespace troupe::bench
