#include "common/model/cuda/token_logprobs.h"

#include <algorithm>
#include <optional>

#include <ATen/Functions.h>

#include "common/base/error.h"
#include "common/model/cuda/device.h"
#include "common/model/cuda/gemm.h"
#include "common/model/cuda/hopper/logits.h"
#include "common/model/cuda/logit_kernels.h"
#include "common/model/passes.h"

namespace troupe::cuda {
namespace {

// A tile of fp32 logits, 128 MiB: smaller ones would stay in the second-level cache, but their products fill the GPU badly.
constexpr std::int64_t kTileRows = 4096;
constexpr std::int64_t kTileColumns = 8192;
// Gradients of logits in bf16, 512 MiB: enough for both products that take them to fill the GPU.
constexpr std::int64_t kGradientRows = 16384;
constexpr std::int64_t kGradientColumns = 16384;

/// A range [begin, end) cut into parts of nearly one size, of at most `most`.
template <typename Work>
void in_parts(std::int64_t begin, std::int64_t end, std::int64_t most, const Work& work) {
  const std::int64_t parts = (end - begin + most - 1) / most;
  for (std::int64_t part = 0; part < parts; ++part) {
    const std::int64_t first = begin + (end - begin) * part / parts;
    work(first, begin + (end - begin) * (part + 1) / parts - first);
  }
}

/// The logits of hidden rows, a tile at a time.
class LogitTiles {
 public:
  LogitTiles(const at::Tensor& hidden_NH, const at::Tensor& head_VH, const at::Tensor& targets_N, double temperature)
      : hidden_NH_(hidden_NH),
        head_VH_(head_VH),
        targets_(targets_N.const_data_ptr<std::int64_t>()),
        inverse_temperature_(1.0F / static_cast<float>(temperature)),
        values_(at::empty({std::min(hidden_NH.size(0), kTileRows) * std::min(head_VH.size(0), kTileColumns)}, on_gpu(at::kFloat))) {}

  /// work(tile, first_row) for each tile of rows [row, row + rows) and columns [column, column + columns).
  template <typename Work>
  void for_each(std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns, const Work& work) {
    for (std::int64_t first = column; first < column + columns; first += kTileColumns) {
      const std::int64_t width = std::min(kTileColumns, column + columns - first);
      in_parts(row, row + rows, kTileRows, [&](std::int64_t first_row, std::int64_t count) {
        const at::Tensor logits = values_.narrow(0, 0, count * width).view({count, width});
        multiply_transposed(hidden_NH_.narrow(0, first_row, count), head_VH_.narrow(0, first, width), logits, Rows::kExact);
        work(LogitTile{logits.const_data_ptr<float>(), count, width, first, targets_ + first_row, inverse_temperature_}, first_row);
      });
    }
  }

 private:
  const at::Tensor& hidden_NH_;
  const at::Tensor& head_VH_;
  const std::int64_t* targets_;
  float inverse_temperature_;
  at::Tensor values_;
};

LogitProduct product_of(const at::Tensor& hidden_NH, const at::Tensor& head_VH, const at::Tensor& targets_N, double temperature) {
  return {data_of<Bf16>(hidden_NH),
          data_of<Bf16>(head_VH),
          hidden_NH.size(0),
          head_VH.size(0),
          hidden_NH.size(1),
          targets_N.const_data_ptr<std::int64_t>(),
          1.0F / static_cast<float>(temperature)};
}

LogitProduct part_of(LogitProduct product, std::int64_t first_row, std::int64_t rows) {
  product.hidden += first_row * product.width;
  product.targets += first_row;
  product.rows = rows;
  return product;
}

/// The partials of all tiles in logits that never reach memory, and the targets' logits.
at::Tensor fused_tiles(const LogitProduct& product, float* target_logits) {
  const at::Tensor tiles = at::empty({tile_floats(product.rows, product.vocabulary)}, on_gpu(at::kFloat));
  fused_partials(product, static_cast<LogitPartial*>(tiles.mutable_data_ptr()), target_logits, current_stream());
  return tiles;
}

}  // namespace

TokenLogprobs token_logprobs(const at::Tensor& hidden_NH, const at::Tensor& head_VH, const at::Tensor& targets_N, double temperature) {
  const std::int64_t rows = hidden_NH.size(0), vocabulary = head_VH.size(0);
  const auto floats = [&] { return at::empty({rows}, on_gpu(at::kFloat)); };
  const TokenLogprobs result{floats(), floats(), floats()};
  const at::Tensor target_logits = floats();
  const at::Tensor partials_storage = at::empty({partial_floats(rows, vocabulary)}, on_gpu(at::kFloat));
  auto* const partials = static_cast<LogitPartial*>(partials_storage.mutable_data_ptr());
  const LogitProduct product = product_of(hidden_NH, head_VH, targets_N, temperature);
  if (fused_logits_serve(product)) {
    const at::Tensor tiles = fused_tiles(product, target_logits.mutable_data_ptr<float>());
    combine_tiles(static_cast<const LogitPartial*>(tiles.const_data_ptr()), rows, vocabulary, partials, current_stream());
  } else {
    LogitTiles(hidden_NH, head_VH, targets_N, temperature).for_each(0, rows, 0, vocabulary, [&](const LogitTile& tile, std::int64_t row) {
      logit_partials(tile, rows, row, partials, target_logits.mutable_data_ptr<float>(), current_stream());
    });
  }
  summarise_rows(partials, target_logits.const_data_ptr<float>(), rows, vocabulary, product.inverse_temperature,
                 result.logp_N.mutable_data_ptr<float>(), result.entropy_N.mutable_data_ptr<float>(),
                 result.lse_N.mutable_data_ptr<float>(), current_stream());
  check_cuda(cudaGetLastError(), "kernels of token_logprobs");
  return result;
}

at::Tensor token_logprobs_backward(const at::Tensor& hidden_NH, const at::Tensor& head_VH, const at::Tensor& targets_N,
                                   double temperature, const TokenLogprobs& forward, const at::Tensor& grad_logp_N,
                                   at::Tensor& grad_head_VH) {
  const std::int64_t all_rows = hidden_NH.size(0), vocabulary = head_VH.size(0);
  at::Tensor grad_hidden_NH = at::empty_like(hidden_NH);
  const at::Tensor storage =
      at::empty({std::min(all_rows, kGradientRows) * std::min(vocabulary, kGradientColumns)}, on_gpu(at::kBFloat16));
  const float *lse = forward.lse_N.const_data_ptr<float>(), *grad_logp = grad_logp_N.const_data_ptr<float>();
  const LogitProduct product = product_of(hidden_NH, head_VH, targets_N, temperature);
  const bool fused = fused_logits_serve(product) && vocabulary % 8 == 0;
  std::optional<LogitTiles> tiles;
  if (!fused) tiles.emplace(hidden_NH, head_VH, targets_N, temperature);
  in_parts(0, all_rows, kGradientRows, [&](std::int64_t row, std::int64_t rows) {
    const at::Tensor sum = at::zeros({rows, hidden_NH.size(1)}, on_gpu(at::kFloat));
    for (std::int64_t column = 0; column < vocabulary; column += kGradientColumns) {
      const std::int64_t columns = std::min(kGradientColumns, vocabulary - column);
      const at::Tensor gradients = storage.narrow(0, 0, rows * columns).view({rows, columns});
      auto* const first = static_cast<Bf16*>(gradients.mutable_data_ptr());
      if (fused) {
        fused_gradients(part_of(product, row, rows), column, columns, lse + row, grad_logp + row, first, current_stream());
      } else {
        tiles->for_each(row, rows, column, columns, [&](const LogitTile& tile, std::int64_t at) {
          logit_gradients(tile, lse + at, grad_logp + at, first + (at - row) * columns + tile.first_column - column, columns,
                          current_stream());
        });
      }
      add_product(gradients, head_VH.narrow(0, column, columns), sum);
      add_weight_gradient(gradients, hidden_NH.narrow(0, row, rows), grad_head_VH.narrow(0, column, columns));
    }
    grad_hidden_NH.narrow(0, row, rows).copy_(sum);
  });
  check_cuda(cudaGetLastError(), "kernels of token_logprobs_backward");
  return grad_hidden_NH;
}

}  // namespace troupe::cuda
