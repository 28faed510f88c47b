#include "common/model/kernels/bf16_tiles.h"

#include <algorithm>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include "common/model/kernels/amx/tile_product.h"

namespace troupe {
namespace {

Bf16* data_of(const at::Tensor& tensor) { return static_cast<Bf16*>(tensor.data_ptr()); }

std::int64_t panels_of(std::int64_t columns) { return (columns + amx::kPanelColumns - 1) / amx::kPanelColumns; }

at::Tensor elements(std::int64_t count) { return at::empty({count}, at::kBFloat16); }

/// Blocks of rows that stay in the second-level cache while all panels pass by; smaller ones where threads would have none.
template <typename Out>
void multiply(const amx::Product<Out>& product) {
  constexpr std::int64_t kOperationsWorthAThread = 1 << 21, kMostRows = 512, kLeastRows = 64;
  constexpr std::int64_t kPanels = 2;  // in an item: a square of tiles
  const std::int64_t panels = panels_of(product.columns), pairs = (panels + kPanels - 1) / kPanels;
  const std::int64_t least_items = 4 * at::get_num_threads();
  std::int64_t block = kMostRows;
  while (block > kLeastRows && (product.rows + block - 1) / block * pairs < least_items) block /= 2;
  const std::int64_t blocks = (product.rows + block - 1) / block;
  const std::int64_t operations = std::clamp(product.rows, amx::kTileRows, block) * product.inner * kPanels * amx::kPanelColumns;
  at::parallel_for(0, blocks * pairs, 1 + kOperationsWorthAThread / operations, [&](std::int64_t begin, std::int64_t end) {
    while (begin < end) {
      const std::int64_t row = begin / pairs * block, pair = begin % pairs, last = std::min(pairs, pair + end - begin);
      amx::multiply(product, row, std::min(product.rows, row + block), pair * kPanels, std::min(panels, last * kPanels));
      begin += last - pair;
    }
  });
}

}  // namespace

bool bf16_tiles_serve() {
  static const bool serve = at::native::cpublas::could_pack(at::kBFloat16);
  return serve;
}

at::Tensor pack_bf16_tiles(const Bf16* right, std::int64_t inner, std::int64_t columns) {
  const at::Tensor packed = elements(amx::panels_size(inner, columns));
  at::parallel_for(0, panels_of(columns), 1, [&](std::int64_t first, std::int64_t last) {
    amx::pack_panels(right, inner, columns, first, last, data_of(packed));
  });
  return packed;
}

at::Tensor pack_bf16_tiles_transposed(const Bf16* w, std::int64_t columns, std::int64_t inner) {
  const at::Tensor packed = elements(amx::panels_size(inner, columns));
  at::parallel_for(0, panels_of(columns), 1, [&](std::int64_t first, std::int64_t last) {
    amx::pack_panels_transposed(w, inner, columns, first, last, data_of(packed));
  });
  return packed;
}

void multiply_bf16_tiles(const Bf16* left, const at::Tensor& right, std::int64_t rows, std::int64_t inner,
                         std::int64_t columns, Bf16* out) {
  multiply<Bf16>({left, false, data_of(right), rows, inner, columns, out, false});
}

void multiply_bf16_tiles(const Bf16* left, const at::Tensor& right, std::int64_t rows, std::int64_t inner,
                         std::int64_t columns, float* out) {
  multiply<float>({left, false, data_of(right), rows, inner, columns, out, false});
}

void add_bf16_tiles(const Bf16* g, const Bf16* x, std::int64_t rows, std::int64_t inner, std::int64_t columns, float* out) {
  const at::Tensor left = elements(amx::left_tiles_size(rows, inner));
  at::parallel_for(0, (rows + amx::kTileRows - 1) / amx::kTileRows, 4, [&](std::int64_t first, std::int64_t last) {
    amx::pack_left_transposed(g, inner, rows, first, last, data_of(left));
  });
  multiply<float>({data_of(left), true, data_of(pack_bf16_tiles(x, inner, columns)), rows, inner, columns, out, true});
}

}  // namespace troupe
