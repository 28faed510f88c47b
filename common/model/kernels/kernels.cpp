#include "common/model/kernels/kernels.h"

namespace troupe {

namespace baseline {
template <typename T>
Kernels<T> table();
MatrixKernels matrix_table();
}
#ifdef TROUPE_X86
namespace avx2 {
template <typename T>
Kernels<T> table();
MatrixKernels matrix_table();
}
namespace avx512 {
template <typename T>
Kernels<T> table();
MatrixKernels matrix_table();
}
#endif

namespace {

enum class InstructionSet { kBaseline, kAvx2, kAvx512 };

InstructionSet instruction_set() {
#ifdef TROUPE_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return InstructionSet::kAvx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) {
    return InstructionSet::kAvx2;
  }
#endif
  return InstructionSet::kBaseline;
}

template <typename T>
Kernels<T> table_of(InstructionSet set) {
#ifdef TROUPE_X86
  if (set == InstructionSet::kAvx512) return avx512::table<T>();
  if (set == InstructionSet::kAvx2) return avx2::table<T>();
#endif
  static_cast<void>(set);
  return baseline::table<T>();
}

MatrixKernels matrix_table_of(InstructionSet set) {
#ifdef TROUPE_X86
  if (set == InstructionSet::kAvx512) return avx512::matrix_table();
  if (set == InstructionSet::kAvx2) return avx2::matrix_table();
#endif
  static_cast<void>(set);
  return baseline::matrix_table();
}

std::int64_t padded(std::int64_t positions) { return (positions + kKeyBlock - 1) / kKeyBlock * kKeyBlock; }

constexpr std::int64_t kRowsAtOnce = 4;

}  // namespace

template <typename T>
const Kernels<T>& kernels() {
  static const Kernels<T> table = table_of<T>(instruction_set());
  return table;
}
template const Kernels<float>& kernels();
template const Kernels<Bf16>& kernels();

const MatrixKernels& matrix_kernels() {
  static const MatrixKernels table = matrix_table_of(instruction_set());
  return table;
}

std::int64_t attention_scratch(std::int64_t positions, std::int64_t head_size) {
  return kRowsAtOnce * (2 * (head_size + 16) + padded(positions) + kKeyBlock);
}

std::int64_t attention_backward_scratch(std::int64_t positions, std::int64_t head_size) {
  return 5 * padded(positions) * head_size + kRowsAtOnce * (4 * (head_size + 16) + 2 * padded(positions));
}

}  // namespace troupe
