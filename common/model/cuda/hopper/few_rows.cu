#include "common/model/cuda/hopper/few_rows.h"

#include <algorithm>

#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/hopper/pipeline.cuh"
#include "common/model/cuda/hopper/tensor_map.h"
#include "common/model/cuda/launch_early.cuh"
#include "common/model/cuda/matrix_instructions.cuh"
#include "common/model/cuda/rms_norm.cuh"
#include "common/model/cuda/swiglu.cuh"

namespace troupe::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kColumns = 8;               // of the result (rows of the weights) that a warp computes: a strip
constexpr int kChunk = 512;               // inner elements that are waited for at once
constexpr int kMostChunks = 20;
constexpr int kDynamicBytes = 224 << 10;  // of shared memory, that a block may have

enum class Sink { kBf16, kFloat, kAddToResidual, kSwiglu };

struct Product {
  FewRows in;
  const Bf16* weights;
  std::int64_t n;
  void* out;
};

/// Elements from one row to the next in shared memory: eight rows lie in different banks.
__host__ __device__ constexpr std::int64_t row_stride(std::int64_t k) { return k + 16; }

/// How a sink's kernel is cut.
template <Sink kSink>
struct Cut {
  static constexpr int kMatrices = kSink == Sink::kSwiglu ? 2 : 1;
  // Products, and inner elements, whose operands are in registers at once.
  static constexpr int kSteps = 8 / kMatrices, kGroup = 16 * kSteps;
  static constexpr int kStrips = kSink == Sink::kFloat ? 2 : 1;  // of a block
  static constexpr std::int64_t bytes(std::int64_t rows, std::int64_t k) {
    return (kStrips * kMatrices * kColumns + rows) * row_stride(k) * static_cast<std::int64_t>(sizeof(Bf16));
  }
};

/// A warp's strip of the weights, which goes through shared memory as a whole. Lane 4 r + q has, of row r and of every 16 inner elements,
/// those from 4 q on: which of a step's 16 products a lane holds does not change their sum.
template <Sink kSink>
class Strip {
  using C = Cut<kSink>;

 public:
  __device__ Strip(const Product& p, Bf16* weights, std::uint64_t* arrived, std::int64_t index)
      : p_(p), k_(static_cast<int>(p.in.k)), first_(index * kColumns), weights_(weights), arrived_(shared_address(arrived)) {}

  /// Begins to copy it, a chunk of all rows after the other; lane r copies row r.
  __device__ void fetch() const {
    constexpr int kRows = C::kMatrices * kColumns;
    const int chunks = (k_ + kChunk - 1) / kChunk;
    if (lane() < chunks) {
      init_barrier(arrived_ + 8 * lane(), 1);
      publish_barriers();
      arrive_expecting(arrived_ + 8 * lane(), kRows * 2 * min(kChunk, k_ - lane() * kChunk));
    }
    __syncwarp();
    if (lane() >= kRows) return;
    const Bf16* const from = p_.weights + (lane() / kColumns * p_.n + first_ + lane() % kColumns) * k_;
    const std::uint32_t to = shared_address(weights_ + lane() * row_stride(k_));
    for (int chunk = 0; chunk < chunks; ++chunk) {
      copy_bytes(to + 2 * chunk * kChunk, from + chunk * kChunk, 2 * min(kChunk, k_ - chunk * kChunk), arrived_ + 8 * chunk);
    }
  }

  /// `rows` is the first operand in shared memory. What a group's products need is loaded while those of the group before are made.
  __device__ void multiply(const Bf16* rows) {
    // Lanes of rows that there are not compute the first one's; it is stored once.
    const int row = lane() / 4 < p_.in.rows ? lane() / 4 : 0;
    const Bf16* const left = rows + row * row_stride(k_) + lane() % 4 * 4;
    const Bf16* const right = weights_ + lane() / 4 * row_stride(k_) + lane() % 4 * 4;
    const int groups = k_ / C::kGroup;
    Operands<C::kSteps> even, odd;
    if (groups > 0) load(even, left, right, 0);
    for (int group = 0; group < groups; group += 2) {
      if (group + 1 < groups) load(odd, left, right, (group + 1) * C::kGroup);
      add(even);
      if (group + 1 >= groups) break;
      if (group + 2 < groups) load(even, left, right, (group + 2) * C::kGroup);
      add(odd);
    }
    for (int element = groups * C::kGroup; element < k_; element += 16) {
      Operands<1> rest;
      load(rest, left, right, element);
      add(rest);
    }
  }

  __device__ void store() const {
    const int row = lane() / 4;
    if (row >= p_.in.rows) return;
    const std::int64_t at = row * p_.n + first_ + lane() % 4 * 2;
    if constexpr (kSink == Sink::kFloat) {
      *reinterpret_cast<float2*>(static_cast<float*>(p_.out) + at) = {sums_[0][0], sums_[0][1]};
    } else if constexpr (kSink == Sink::kBf16) {
      *reinterpret_cast<unsigned*>(static_cast<Bf16*>(p_.out) + at) = pack_two(sums_[0][0], sums_[0][1]);
    } else if constexpr (kSink == Sink::kAddToResidual) {
      float2* const residual = reinterpret_cast<float2*>(static_cast<float*>(p_.out) + at);
      const float2 before = *residual;
      *residual = {before.x + to_float(to_bf16(sums_[0][0])), before.y + to_float(to_bf16(sums_[0][1]))};
    } else {
      const auto activated = [&](int i) { return to_float(activated_of(to_float(to_bf16(sums_[0][i])), to_float(to_bf16(sums_[1][i])))); };
      *reinterpret_cast<unsigned*>(static_cast<Bf16*>(p_.out) + at) = pack_two(activated(0), activated(1));
    }
  }

 private:
  /// What a lane multiplies in so many steps.
  template <int Steps>
  struct Operands {
    uint2 x[Steps], w[C::kMatrices][Steps];
  };

  static __device__ int lane() { return static_cast<int>(threadIdx.x % 32); }

  template <int Steps>
  __device__ void load(Operands<Steps>& to, const Bf16* left, const Bf16* right, int element) const {
    if (element % kChunk == 0) await(arrived_ + 8 * (element / kChunk), 0);
#pragma unroll
    for (int step = 0; step < Steps; ++step) {
      to.x[step] = *reinterpret_cast<const uint2*>(left + element + 16 * step);
#pragma unroll
      for (int matrix = 0; matrix < C::kMatrices; ++matrix) {
        to.w[matrix][step] = *reinterpret_cast<const uint2*>(right + matrix * kColumns * row_stride(k_) + element + 16 * step);
      }
    }
  }

  template <int Steps>
  __device__ void add(const Operands<Steps>& operands) {
#pragma unroll
    for (int step = 0; step < Steps; ++step) {
      const unsigned a[4] = {operands.x[step].x, 0U, operands.x[step].y, 0U};
#pragma unroll
      for (int matrix = 0; matrix < C::kMatrices; ++matrix) {
        multiply_add(sums_[matrix], a, operands.w[matrix][step].x, operands.w[matrix][step].y);
      }
    }
  }

  const Product& p_;
  const int k_;
  const std::int64_t first_;
  Bf16* const weights_;
  const std::uint32_t arrived_;  // barriers of the chunks
  float sums_[C::kMatrices][4] = {};
};

/// Copies the rows to shared memory, rows row_stride(k) apart.
__device__ void take_rows(const FewRows& in, Bf16* rows) {
  constexpr int kAtOnce = 8;
  const int k = static_cast<int>(in.k);
  for (int row = 0; row < in.rows; ++row) {
    for (int first = static_cast<int>(threadIdx.x) * 8; first < k; first += kAtOnce * kThreads * 8) {
      Eight values[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i * kThreads * 8 < k) values[i] = load8(in.x + row * in.k + first + i * kThreads * 8);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        if (first + i * kThreads * 8 < k) *reinterpret_cast<Eight*>(rows + row * row_stride(k) + first + i * kThreads * 8) = values[i];
      }
    }
  }
}

/// RMSNorm of the residual rows into shared memory, rows row_stride(k) apart. A warp does the work of two of kNormThreads' warps. The
/// weights and the first parts of the present row stay in registers.
class NormedRows {
 public:
  __device__ explicit NormedRows(const FewRows& in) : in_(in), k_(static_cast<int>(in.k)) {
#pragma unroll
    for (int part = 0; part < kKept; ++part) {
      if (element(part) < k_) weights_[part] = load4(in.norm + element(part));
    }
  }

  __device__ void take(Bf16* rows) const {
    __shared__ float squares[kFewRows][kNormWarps];
    for (int row = 0; row < in_.rows; ++row) {
      float4 kept[kKept];
      float sums[2] = {};
#pragma unroll
      for (int part = 0; part < kKept; ++part) {
        if (element(part) < k_) kept[part] = at(row, element(part));
      }
#pragma unroll
      for (int part = 0; part < kKept; ++part) {
        if (element(part) < k_) sums[part % 2] = add_squares(kept[part], sums[part % 2]);
      }
      for (int part = kKept; element(part) < k_; ++part) sums[part % 2] = add_squares(at(row, element(part)), sums[part % 2]);
      for (int half = 0; half < 2; ++half) {
        const float sum = sum_of_warp(sums[half]);
        if (threadIdx.x % 32 == 0) squares[row][threadIdx.x / 32 + half * kWarps] = sum;
      }
      __syncthreads();
      const float inverse = inverse_rms_of_row(squares[row], k_, in_.eps);
      Bf16* const to = rows + row * row_stride(k_);
#pragma unroll
      for (int part = 0; part < kKept; ++part) {
        if (element(part) < k_) *reinterpret_cast<Four*>(to + element(part)) = normed(kept[part], inverse, weights_[part]);
      }
      for (int part = kKept; element(part) < k_; ++part) {
        const int i = element(part);
        *reinterpret_cast<Four*>(to + i) = normed(at(row, i), inverse, load4(in_.norm + i));
      }
    }
  }

 private:
  static constexpr int kKept = 4;
  static_assert(kNormThreads == 2 * kThreads);

  /// The first of a thread's four elements in part `part`: parts 0, 2, … are kNormThreads' thread t's, 1, 3, … its thread t + kThreads'.
  static __device__ int element(int part) { return 4 * (part * kThreads + static_cast<int>(threadIdx.x)); }
  __device__ float4 at(int row, int element) const { return *reinterpret_cast<const float4*>(in_.residual + row * in_.k + element); }

  const FewRows& in_;
  const int k_;
  Four weights_[kKept];
};

template <Sink kSink>
__global__ void __launch_bounds__(kThreads, Cut<kSink>::kMatrices == 2 ? 5 : 4) few_rows_kernel(const __grid_constant__ Product p) {
  extern __shared__ __align__(128) unsigned char memory[];
  __shared__ std::uint64_t arrived[Cut<kSink>::kStrips][kMostChunks];
  constexpr int kStrips = Cut<kSink>::kStrips;
  let_next_begin();
  const std::int64_t strip_elements = Cut<kSink>::kMatrices * kColumns * row_stride(p.in.k);
  Bf16 *const weights = reinterpret_cast<Bf16*>(memory), *const rows = weights + kStrips * strip_elements;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const std::int64_t index = std::int64_t{blockIdx.x} * kStrips + warp;
  const bool works = warp < kStrips && index < p.n / kColumns;
  Strip<kSink> strip(p, weights + warp * strip_elements, arrived[works ? warp : 0], index);
  if (works) strip.fetch();
  if (p.in.x != nullptr) {
    wait_for_earlier();
    take_rows(p.in, rows);
  } else {
    NormedRows normed_rows(p.in);
    wait_for_earlier();
    normed_rows.take(rows);
  }
  __syncthreads();
  if (!works) return;
  strip.multiply(rows);
  strip.store();
}

template <Sink kSink>
void launch(const Product& p, cudaStream_t stream) {
  // Each GPU is asked on its own; a refusal shows as the launch's error.
  static_cast<void>(cudaFuncSetAttribute(few_rows_kernel<kSink>, cudaFuncAttributeMaxDynamicSharedMemorySize, kDynamicBytes));
  const std::int64_t bytes = Cut<kSink>::bytes(p.in.rows, p.in.k);
  const dim3 blocks(blocks_of(p.n / kColumns, Cut<kSink>::kStrips));
  launch_early(few_rows_kernel<kSink>, blocks, kThreads, static_cast<std::size_t>(bytes), stream, p);
}

}  // namespace

bool few_rows_serve(std::int64_t hidden, std::int64_t attended, std::int64_t inner) {
  const auto fits = [](std::int64_t k, std::int64_t bytes) { return k % 16 == 0 && k <= kMostChunks * kChunk && bytes <= kDynamicBytes; };
  const auto fits_before_sum = [&](std::int64_t k) { return fits(k, Cut<Sink::kAddToResidual>::bytes(kFewRows, k)); };
  return is_hopper() && fits(hidden, std::max(Cut<Sink::kFloat>::bytes(kFewRows, hidden), Cut<Sink::kSwiglu>::bytes(kFewRows, hidden))) &&
         fits_before_sum(attended) && fits_before_sum(inner);
}

void multiply_few(const FewRows& x, const Bf16* w, std::int64_t n, Bf16* out, cudaStream_t stream) { launch<Sink::kBf16>({x, w, n, out}, stream); }

void multiply_few(const FewRows& x, const Bf16* w, std::int64_t n, float* out, cudaStream_t stream) { launch<Sink::kFloat>({x, w, n, out}, stream); }

void add_product_few(const FewRows& x, const Bf16* w, std::int64_t n, float* residual, cudaStream_t stream) {
  launch<Sink::kAddToResidual>({x, w, n, residual}, stream);
}

void swiglu_few(const FewRows& x, const Bf16* gate_up, std::int64_t inner, Bf16* activated, cudaStream_t stream) {
  launch<Sink::kSwiglu>({x, gate_up, inner, activated}, stream);
}

}  // namespace troupe::cuda
