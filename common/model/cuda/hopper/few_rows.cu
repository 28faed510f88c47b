#include "common/model/cuda/few_rows.h"

#include <algorithm>

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
constexpr int kDynamicBytes = 226 << 10;           // of shared memory, that a block may have

enum class Sink { kBf16, kFloat, kAddToResidual, kSwiglu };

struct Product {
  FewRows in;
  const Bf16* weights;
  std::int64_t n;
  void* out;
};

/// Elements from one row to the next in shared memory; those behind the k of a row are zero.
__host__ __device__ constexpr std::int64_t row_stride(std::int64_t k) { return (k + kChunk - 1) / kChunk * kChunk + kPad; }

/// How a sink's kernel is cut: strips of a block, and chunks of each that are under way at once.
template <Sink kSink>
struct Cut {
  static constexpr int kMatrices = kSink == Sink::kSwiglu ? 2 : 1;
  static constexpr int kStrips = kSink == Sink::kSwiglu ? 2 : kSink == Sink::kFloat ? 4 : 1;
  static constexpr int kStages = kSink == Sink::kSwiglu || kSink == Sink::kFloat ? 8 : 24;
  /// Elements of a strip's ring.
  static __host__ __device__ constexpr std::int64_t ring(std::int64_t k) {
    const std::int64_t chunks = (k + kChunk - 1) / kChunk;
    return kMatrices * kSlot * (chunks < kStages ? chunks : kStages);
  }
  static constexpr std::int64_t bytes(std::int64_t rows, std::int64_t k) {
    return (kStrips * ring(k) + rows * row_stride(k)) * static_cast<std::int64_t>(sizeof(Bf16));
  }
};

/// A warp's strip of the weights on its way through shared memory. Lane 4 r + q has, of row r and of every 16 inner elements, those from 4 q
/// on: which of a step's 16 products a lane holds does not change their sum.
template <Sink kSink>
class Strip {
  using C = Cut<kSink>;

 public:
  __device__ Strip(const Product& p, Bf16* ring, std::int64_t index)
      : p_(p), ring_(ring), first_(index * kColumns), k_(static_cast<int>(p.in.k)), chunks_((k_ + kChunk - 1) / kChunk) {
    constexpr int kPieces = kChunk / 8;
    element_ = lane() % kPieces * 8;
    from_ = p.weights + (first_ + lane() / kPieces) * k_ + element_;
    to_ = lane() / kPieces * (kChunk + kPad) + element_;
  }

  __device__ void fetch(int chunk) const {
    if (chunk < chunks_) {
      const bool is_there = chunk * kChunk + element_ < k_;
#pragma unroll
      for (int matrix = 0; matrix < C::kMatrices; ++matrix) {
        const Bf16* const from = from_ + matrix * p_.n * k_ + chunk * kChunk;
        Bf16* const to = slot(chunk, matrix) + to_;
#pragma unroll
        for (int row = 0; row < kColumns; row += kRowsAtOnce) copy16_or_zeros(to + row * (kChunk + kPad), is_there ? from + row * k_ : from_, is_there);
      }
    }
    commit_copies();
  }

  /// `rows` is the first operand in shared memory. What a chunk's products need is loaded while those of the chunk before are made.
  __device__ void multiply(const Bf16* rows) {
    // Lanes of rows that there are not compute the first one's; it is stored once.
    const int row = lane() / 4 < p_.in.rows ? lane() / 4 : 0;
    const Bf16* const left = rows + row * row_stride(k_) + lane() % 4 * 4;
    Operands even, odd;
    load(even, left, 0);
    for (int chunk = 0; chunk < chunks_; chunk += 2) {
      load(odd, left, chunk + 1);
      add(even);
      if (chunk + 1 >= chunks_) break;
      load(even, left, chunk + 2);
      add(odd);
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
      const auto activated = [&](int i) { return swiglu_of(to_float(to_bf16(sums_[0][i])), to_float(to_bf16(sums_[1][i]))); };
      *reinterpret_cast<unsigned*>(static_cast<Bf16*>(p_.out) + at) = pack_two(activated(0), activated(1));
    }
  }

 private:
  static constexpr int kSteps = kChunk / 16, kRowsAtOnce = 32 / (kChunk / 8);
  /// What a lane multiplies of a chunk.
  struct Operands {
    uint2 x[kSteps], w[C::kMatrices][kSteps];
  };

  static __device__ int lane() { return static_cast<int>(threadIdx.x % 32); }
  __device__ Bf16* slot(int chunk, int matrix) const { return ring_ + (chunk % C::kStages * C::kMatrices + matrix) * kSlot; }

  /// Waits for a chunk, takes it to registers and lets the one that comes into its place begin.
  __device__ void load(Operands& to, const Bf16* left, int chunk) const {
    if (chunk >= chunks_) return;
    wait_for_copies<C::kStages - 1>();
    __syncwarp();
    const int at = lane() / 4 * (kChunk + kPad) + lane() % 4 * 4;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      to.x[step] = *reinterpret_cast<const uint2*>(left + chunk * kChunk + 16 * step);
#pragma unroll
      for (int matrix = 0; matrix < C::kMatrices; ++matrix) to.w[matrix][step] = *reinterpret_cast<const uint2*>(slot(chunk, matrix) + at + 16 * step);
    }
    __syncwarp();
    fetch(chunk + C::kStages);
  }

  __device__ void add(const Operands& operands) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      const unsigned a[4] = {operands.x[step].x, 0U, operands.x[step].y, 0U};
#pragma unroll
      for (int matrix = 0; matrix < C::kMatrices; ++matrix) multiply_add(sums_[matrix], a, operands.w[matrix][step].x, operands.w[matrix][step].y);
    }
  }

  const Product& p_;
  Bf16* const ring_;
  const std::int64_t first_;
  const int k_, chunks_;
  int element_, to_;    // of the pieces that this lane fetches
  const Bf16* from_;
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

/// RMSNorm of the residual rows into shared memory, rows row_stride(k) apart. A warp does the work of two of kNormThreads' warps. The weights
/// and, of each row, the elements of the first parts stay in registers.
class NormedRows {
 public:
  __device__ explicit NormedRows(const FewRows& in) : in_(in), k_(static_cast<int>(in.k)) {
#pragma unroll
    for (int part = 0; part < kKept; ++part) {
      if (element(part) < k_) weights_[part] = load4(in.norm + element(part));
    }
  }

  __device__ void take(Bf16* rows) {
    __shared__ float squares[kFewRows][kNormWarps];
    float4 kept[kFewRows][kKept];
#pragma unroll
    for (int row = 0; row < kFewRows; ++row) {
      if (row >= in_.rows) break;
#pragma unroll
      for (int part = 0; part < kKept; ++part) {
        if (element(part) < k_) kept[row][part] = at(row, element(part));
      }
    }
#pragma unroll
    for (int row = 0; row < kFewRows; ++row) {
      if (row >= in_.rows) break;
      float sums[2] = {};
#pragma unroll
      for (int part = 0; part < kKept; ++part) {
        if (element(part) < k_) sums[part % 2] = add_squares(kept[row][part], sums[part % 2]);
      }
      for (int part = kKept; element(part) < k_; part += 2) {
        for (int half = 0; half < 2; ++half) {
          if (element(part + half) < k_) sums[half] = add_squares(at(row, element(part + half)), sums[half]);
        }
      }
      for (int half = 0; half < 2; ++half) {
        const float sum = sum_of_warp(sums[half]);
        if (threadIdx.x % 32 == 0) squares[row][threadIdx.x / 32 + half * kWarps] = sum;
      }
    }
    __syncthreads();
#pragma unroll
    for (int row = 0; row < kFewRows; ++row) {
      if (row >= in_.rows) break;
      const float inverse = inverse_rms_of_row(squares[row], k_, in_.eps);
      Bf16* const to = rows + row * row_stride(k_);
#pragma unroll
      for (int part = 0; part < kKept; ++part) {
        if (element(part) < k_) *reinterpret_cast<Four*>(to + element(part)) = normed(kept[row][part], inverse, weights_[part]);
      }
      for (int part = kKept; element(part) < k_; ++part) *reinterpret_cast<Four*>(to + element(part)) = normed(at(row, element(part)), inverse, load4(in_.norm + element(part)));
    }
  }

 private:
  static constexpr int kKept = 4;
  static_assert(kNormThreads == 2 * kThreads);

  /// The first of a thread's four elements in part `part`: those of kNormThreads' thread t are parts 0, 2, …, of thread t + kThreads 1, 3, ….
  static __device__ int element(int part) { return 4 * (part * kThreads + static_cast<int>(threadIdx.x)); }
  __device__ float4 at(int row, int element) const { return *reinterpret_cast<const float4*>(in_.residual + row * in_.k + element); }

  const FewRows& in_;
  const int k_;
  Four weights_[kKept];
};

template <Sink kSink>
__global__ void __launch_bounds__(kThreads) few_rows_kernel(const __grid_constant__ Product p) {
  extern __shared__ __align__(16) unsigned char memory[];
  using C = Cut<kSink>;
  let_next_begin();
  Bf16* const rings = reinterpret_cast<Bf16*>(memory);
  Bf16* const rows = rings + C::kStrips * C::ring(p.in.k);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const std::int64_t index = std::int64_t{blockIdx.x} * C::kStrips + warp;
  const bool works = warp < C::kStrips && index < p.n / kColumns;
  Strip<kSink> strip(p, rings + warp * C::ring(p.in.k), index);
  if (works) {
    for (int chunk = 0; chunk < C::kStages; ++chunk) strip.fetch(chunk);
  }
  if (p.in.x != nullptr) {
    wait_for_earlier();
    take_rows(p.in, rows);
  } else {
    NormedRows normed_rows(p.in);
    wait_for_earlier();
    normed_rows.take(rows);
  }
  for (std::int64_t row = 0; row < p.in.rows; ++row) {
    for (std::int64_t i = p.in.k + threadIdx.x; i < row_stride(p.in.k); i += kThreads) rows[row * row_stride(p.in.k) + i] = {};
  }
  __syncthreads();
  if (!works) return;
  strip.multiply(rows);
  strip.store();
}

template <Sink kSink>
void launch(const Product& p, cudaStream_t stream) {
  static const cudaError_t allowed = cudaFuncSetAttribute(few_rows_kernel<kSink>, cudaFuncAttributeMaxDynamicSharedMemorySize, kDynamicBytes);
  static_cast<void>(allowed);  // a refusal shows as the launch's error
  const std::int64_t bytes = Cut<kSink>::bytes(p.in.rows, p.in.k);
  launch_early(few_rows_kernel<kSink>, dim3(blocks_of(p.n / kColumns, Cut<kSink>::kStrips)), kThreads, static_cast<std::size_t>(bytes), stream, p);
}

}  // namespace

bool few_rows_serve(std::int64_t k) {
  const std::int64_t most = std::max({Cut<Sink::kFloat>::bytes(kFewRows, k), Cut<Sink::kSwiglu>::bytes(kFewRows, k), Cut<Sink::kBf16>::bytes(kFewRows, k)});
  return k % 16 == 0 && most <= kDynamicBytes;
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
