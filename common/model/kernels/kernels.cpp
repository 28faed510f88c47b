#include "common/model/kernels/kernels.h"

namespace troupe {

namespace baseline {
template <typename T>
Kernels<T> table();
}
#ifdef TROUPE_X86
namespace avx2 {
template <typename T>
Kernels<T> table();
}
namespace avx512 {
template <typename T>
Kernels<T> table();
}
#endif

namespace {

template <typename T>
Kernels<T> best_table() {
#ifdef TROUPE_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return avx512::table<T>();
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
    return avx2::table<T>();
  }
#endif
  return baseline::table<T>();
}

std::int64_t padded(std::int64_t positions) { return (positions + kKeyBlock - 1) / kKeyBlock * kKeyBlock; }

constexpr std::int64_t kRowsAtOnce = 4;

}  // namespace

template <typename T>
const Kernels<T>& kernels() {
  static const Kernels<T> table = best_table<T>();
  return table;
}
template const Kernels<float>& kernels();
template const Kernels<Bf16>& kernels();

std::int64_t attention_scratch(std::int64_t positions, std::int64_t head_size) {
  return kRowsAtOnce * (2 * (head_size + 16) + padded(positions));
}

std::int64_t attention_backward_scratch(std::int64_t positions, std::int64_t head_size) {
  return 5 * padded(positions) * head_size + kRowsAtOnce * (4 * (head_size + 16) + 2 * padded(positions));
}

}  // namespace troupe
