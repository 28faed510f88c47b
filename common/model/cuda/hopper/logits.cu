#include "common/model/cuda/hopper/logits.h"
#include "common/model/cuda/hopper/tile_product.cuh"
#include "common/model/cuda/row_statistics.cuh"

namespace troupe::cuda {
namespace {

using tiles::kColumns;
using tiles::Work;
static_assert(kColumns == kLogitTile);

/// The partial of a row of the tile, and its target's logit.
struct Statistics : tiles::Finishing {
  const std::int64_t* targets;
  float inverse_temperature;
  LogitPartial* partials;
  float* target_logits;

  __device__ __forceinline__ void operator()(const float (&d)[kColumns / 2], Ahead /*ahead*/, const Work& work, const tiles::WarpRows& rows) const {
    float values[kColumns / 4];
    tiles::take_row<0>(d, values);
    finish_row(values, work, rows.own_row(), rows.column);
    tiles::take_row<1>(d, values);
    finish_row(values, work, rows.own_row() + 8, rows.column);
  }

  /// By the four lanes that have the row.
  __device__ __forceinline__ void finish_row(float (&values)[kColumns / 4], const Work& work, int row, int column) const {
    const int lane = static_cast<int>(threadIdx.x % 4), count = min(kColumns, work.columns - column);
    if (count < kColumns) {
#pragma unroll
      for (int i = 0; i < kColumns / 4; ++i) {
        if (8 * (i / 2) + 2 * lane + i % 2 >= count) values[i] = row_statistics::kMinusInfinity;
      }
    }
    const LogitPartial partial = tile_partial(values, inverse_temperature);
    if (row >= work.rows) return;
    if (lane == 0) partials[static_cast<std::int64_t>(column / kColumns) * work.rows + row] = partial;
    const std::int64_t target = targets[row] - column;
    if (target < 0 || target >= count) return;
#pragma unroll
    for (int i = 0; i < kColumns / 4; ++i) {
      if (8 * (i / 2) + 2 * lane + i % 2 == target) target_logits[row] = values[i];
    }
  }
};

/// d logp / d logit_v = ([v is the target] - p_v) / temperature.
struct Gradients : tiles::Finishing {
  const std::int64_t* targets;
  float inverse_temperature;
  const float* lse;
  const float* grad_logp;
  Bf16* gradients;

  __device__ __forceinline__ void operator()(float (&d)[kColumns / 2], Ahead /*ahead*/, const Work& work, const tiles::WarpRows& rows) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) differentiate(d, work, half, rows);
#pragma unroll
    for (int part = 0; part < kColumns / 32; ++part) {
      Eight grads[2];
      tiles::exchange(&d[16 * part], rows.exchange, grads);
      const int column = rows.own_column(part);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::int64_t row = rows.own_row() + 8 * half;
        if (row < work.rows && column < work.columns) store8_streaming(gradients + row * work.columns + column, grads[half]);
      }
    }
  }

  /// Turns the logits of one of a thread's rows to their gradients.
  __device__ __forceinline__ void differentiate(float (&d)[kColumns / 2], const Work& work, int half, const tiles::WarpRows& rows) const {
    const int row = rows.own_row() + 8 * half;
    const bool inside = row < work.rows;
    const float scale = exponent_scale(inverse_temperature), grad = inside ? __fmul_rn(grad_logp[row], inverse_temperature) : 0.0f;
    const float row_lse = inside ? __fmul_rn(lse[row], 1.4426950408889634f) : 0.0f;
    const int first = work.first_column + rows.column + 2 * static_cast<int>(threadIdx.x % 4);
    const int target = inside ? static_cast<int>(targets[row]) - first : -1;
#pragma unroll
    for (int i = 0; i < kColumns / 4; ++i) {
      float& value = d[4 * (i / 2) + 2 * half + i % 2];
      const float p = exp2_of(__fmaf_rn(value, scale, -row_lse));
      value = (target == 8 * (i / 2) + i % 2 ? 1.0f - p : -p) * grad;
    }
  }
};

tiles::Operands<> operands_of(const LogitProduct& p) { return {p.hidden, p.head, p.rows, p.width, p.vocabulary}; }

Work work_of(std::int64_t first_column, std::int64_t columns) {
  Work work{};
  work.columns = static_cast<int>(columns);
  work.first_column = static_cast<int>(first_column);
  work.second_half = kColumns / 2;
  work.tile_columns = kColumns;
  return work;
}

}  // namespace

bool fused_logits_serve(const LogitProduct& product) { return operands_of(product).serve(); }

void fused_partials(const LogitProduct& product, LogitPartial* partials, float* target_logits, cudaStream_t stream) {
  const Statistics finish{{}, product.targets, product.inverse_temperature, partials, target_logits};
  tiles::launch(operands_of(product), work_of(0, product.vocabulary), finish, stream);
}

void fused_gradients(const LogitProduct& product, std::int64_t first_column, std::int64_t columns, const float* lse,
                     const float* grad_logp, Bf16* gradients, cudaStream_t stream) {
  const Gradients finish{{}, product.targets, product.inverse_temperature, lse, grad_logp, gradients};
  tiles::launch(operands_of(product), work_of(first_column, columns), finish, stream);
}

}  // namespace troupe::cuda
