#include "common/model/cuda/few_rows.h"

#include "common/model/cuda/elements.cuh"
#include "common/model/cuda/launch_early.cuh"
#include "common/model/cuda/matrix_instructions.cuh"
#include "common/model/cuda/rms_norm.cuh"

namespace troupe::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int kColumns = 8;                     // of the result (rows of the weights) that a warp computes: a strip
constexpr int kChunk = 128;                     // inner elements that are fetched at once
constexpr int kPad = 16;                        // elements behind each row in shared memory, so that eight rows lie in different banks
constexpr int kSlot = kColumns * (kChunk + kPad);  // elements of a strip's chunk in shared memory
constexpr int kSharedBytes = 227 << 10;         // that a block may have

enum class Sink { kBf16, kFloat, kAddToResidual, kSwiglu };

struct Product {
  FewRows in;
  const Bf16* weights;
  std::int64_t n;
  void* out;
};

/// How a sink's kernel is cut: strips of a block, and chunks of each that are under way at once.
template <Sink kSink>
struct Cut {
  static constexpr int kMatrices = kSink == Sink::kSwiglu ? 2 : 1;
  static constexpr int kStrips = kSink == Sink::kSwiglu ? 2 : kSink == Sink::kFloat ? 4 : 1;
  static constexpr int kStages = kSink == Sink::kSwiglu || kSink == Sink::kFloat ? 8 : 24;
  static constexpr int kRing = kMatrices * kStages * kSlot;  // elements of a strip's ring
  static constexpr int bytes_beside_rows() { return kStrips * kRing * static_cast<int>(sizeof(Bf16)); }
};

/// A warp's strip of the weights on its way through shared memory. Lane 4 r + q has, of row r and of every 16 inner elements, those from 4 q
/// on: which of a step's 16 products a lane holds does not change their sum.
template <Sink kSink>
class Strip {
 public:
  __device__ Strip(const Product& p, Bf16* ring, std::int64_t index) : p_(p), ring_(ring), first_(index * kColumns) {}

  __device__ void fetch(int chunk) const {
    const int lane = static_cast<int>(threadIdx.x % 32), chunks = chunks_of(p_.in.k);
    if (chunk < chunks) {
#pragma unroll
      for (int matrix = 0; matrix < Cut<kSink>::kMatrices; ++matrix) {
        Bf16* const to = slot(chunk, matrix);
#pragma unroll
        for (int i = 0; i < kColumns * kChunk / 8 / 32; ++i) {
          const int piece = lane + 32 * i, row = piece / (kChunk / 8), element = piece % (kChunk / 8) * 8;
          if (chunk * kChunk + element >= p_.in.k) continue;
          copy16(to + row * (kChunk + kPad) + element, p_.weights + (matrix * p_.n + first_ + row) * p_.in.k + chunk * kChunk + element);
        }
      }
    }
    commit_copies();
  }

  /// `rows` is the first operand in shared memory.
  __device__ void multiply(const Bf16* rows) {
    const int lane = static_cast<int>(threadIdx.x % 32), row = lane / 4, quarter = lane % 4, chunks = chunks_of(p_.in.k);
    const Bf16* const left = row < p_.in.rows ? rows + row * (p_.in.k + kPad) + 4 * quarter : nullptr;
    for (int chunk = 0; chunk < chunks; ++chunk) {
      wait_for_copies<Cut<kSink>::kStages - 1>();
      __syncwarp();
      const int steps = static_cast<int>(min(std::int64_t{kChunk}, p_.in.k - chunk * kChunk)) / 16;
      if (steps == kChunk / 16) add_steps<kChunk / 16>(left, chunk, row, quarter, steps);
      else add_steps<1>(left, chunk, row, quarter, steps);
      __syncwarp();
      fetch(chunk + Cut<kSink>::kStages);
    }
  }

  __device__ void store() const {
    const int lane = static_cast<int>(threadIdx.x % 32), row = lane / 4;
    if (row >= p_.in.rows) return;
    const std::int64_t at = row * p_.n + first_ + lane % 4 * 2;
    if constexpr (kSink == Sink::kFloat) {
      *reinterpret_cast<float2*>(static_cast<float*>(p_.out) + at) = {sums_[0][0], sums_[0][1]};
    } else if constexpr (kSink == Sink::kBf16) {
      *reinterpret_cast<unsigned*>(static_cast<Bf16*>(p_.out) + at) = pack_two(sums_[0][0], sums_[0][1]);
    } else if constexpr (kSink == Sink::kAddToResidual) {
      float2* const residual = reinterpret_cast<float2*>(static_cast<float*>(p_.out) + at);
      const float2 before = *residual;
      *residual = {before.x + to_float(to_bf16(sums_[0][0])), before.y + to_float(to_bf16(sums_[0][1]))};
    } else {
      const auto activated = [&](int i) { return swiglu_of(to_float(to_bf16(sums_[0][i])), to_float(to_bf16(sums_[1][i]))); };
      *reinterpret_cast<unsigned*>(static_cast<Bf16*>(p_.out) + at) = pack_two(activated(0), activated(1));
    }
  }

  static __device__ int chunks_of(std::int64_t k) { return static_cast<int>((k + kChunk - 1) / kChunk); }

 private:
  __device__ Bf16* slot(int chunk, int matrix) const { return ring_ + (chunk % Cut<kSink>::kStages * Cut<kSink>::kMatrices + matrix) * kSlot; }

  template <int Unroll>
  __device__ void add_steps(const Bf16* left, int chunk, int row, int quarter, int steps) {
    const Bf16* const right = slot(chunk, 0) + row * (kChunk + kPad) + 4 * quarter;
#pragma unroll Unroll
    for (int step = 0; step < steps; ++step) {
      const uint2 x = left == nullptr ? uint2{0, 0} : *reinterpret_cast<const uint2*>(left + chunk * kChunk + 16 * step);
      const unsigned a[4] = {x.x, 0U, x.y, 0U};
#pragma unroll
      for (int matrix = 0; matrix < Cut<kSink>::kMatrices; ++matrix) {
        const uint2 w = *reinterpret_cast<const uint2*>(right + matrix * kSlot + 16 * step);
        multiply_add(sums_[matrix], a, w.x, w.y);
      }
    }
  }

  const Product& p_;
  Bf16* const ring_;
  const std::int64_t first_;
  float sums_[Cut<kSink>::kMatrices][4] = {};
};

/// Copies the rows to shared memory, [rows, k + kPad].
__device__ void take_rows(const FewRows& in, Bf16* rows) {
  for (int row = 0; row < in.rows; ++row) {
    for (std::int64_t i = threadIdx.x * 8; i < in.k; i += kThreads * 8) *reinterpret_cast<Eight*>(rows + row * (in.k + kPad) + i) = load8(in.x + row * in.k + i);
  }
}

/// The normed residual rows. A warp does the work of several of kNormThreads' warps.
__device__ void take_normed_rows(const FewRows& in, Bf16* rows) {
  __shared__ float squares[kFewRows][kNormWarps];
  const int lane = static_cast<int>(threadIdx.x % 32), own = static_cast<int>(threadIdx.x / 32);
  for (int row = 0; row < in.rows; ++row) {
    for (int warp = own; warp < kNormWarps; warp += kWarps) {
      float sum = 0;
      for (std::int64_t i = 4 * (32 * warp + lane); i < in.k; i += 4 * kNormThreads) sum = add_squares(*reinterpret_cast<const float4*>(in.residual + row * in.k + i), sum);
      sum = sum_of_warp(sum);
      if (lane == 0) squares[row][warp] = sum;
    }
  }
  __syncthreads();
  for (int row = 0; row < in.rows; ++row) {
    const float inverse = inverse_rms_of_row(squares[row], in.k, in.eps);
    for (std::int64_t i = threadIdx.x * 4; i < in.k; i += kThreads * 4) {
      *reinterpret_cast<Four*>(rows + row * (in.k + kPad) + i) = normed(*reinterpret_cast<const float4*>(in.residual + row * in.k + i), inverse, load4(in.norm + i));
    }
  }
}

template <Sink kSink>
__global__ void __launch_bounds__(kThreads) few_rows_kernel(const __grid_constant__ Product p) {
  extern __shared__ __align__(16) unsigned char memory[];
  using C = Cut<kSink>;
  let_next_begin();
  Bf16* const rings = reinterpret_cast<Bf16*>(memory);
  Bf16* const rows = rings + C::kStrips * C::kRing;
  const int warp = static_cast<int>(threadIdx.x / 32);
  const std::int64_t index = std::int64_t{blockIdx.x} * C::kStrips + warp;
  const bool works = warp < C::kStrips && index < p.n / kColumns;
  Strip<kSink> strip(p, rings + warp * C::kRing, index);
  if (works) {
    for (int chunk = 0; chunk < C::kStages; ++chunk) strip.fetch(chunk);
  }
  wait_for_earlier();
  if (p.in.x != nullptr) take_rows(p.in, rows);
  else take_normed_rows(p.in, rows);
  __syncthreads();
  if (!works) return;
  strip.multiply(rows);
  strip.store();
}

template <Sink kSink>
void launch(const Product& p, cudaStream_t stream) {
  static const cudaError_t allowed = cudaFuncSetAttribute(few_rows_kernel<kSink>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes - 1024);
  static_cast<void>(allowed);  // a refusal shows as the launch's error
  const std::int64_t bytes = Cut<kSink>::bytes_beside_rows() + p.in.rows * (p.in.k + kPad) * static_cast<std::int64_t>(sizeof(Bf16));
  launch_early(few_rows_kernel<kSink>, dim3(blocks_of(p.n / kColumns, Cut<kSink>::kStrips)), kThreads, static_cast<std::size_t>(bytes), stream, p);
}

}  // namespace

bool few_rows_serve(std::int64_t k) {
  constexpr int kMost = Cut<Sink::kFloat>::bytes_beside_rows();  // of all sinks
  static_assert(kMost >= Cut<Sink::kSwiglu>::bytes_beside_rows() && kMost >= Cut<Sink::kBf16>::bytes_beside_rows());
  return k % 16 == 0 && kMost + kFewRows * (k + kPad) * static_cast<std::int64_t>(sizeof(Bf16)) <= kSharedBytes - 1024;
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
