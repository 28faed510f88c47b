#include "common/model/kernels/bf16_tiles.h"

#include <algorithm>
#include <cstring>

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

namespace troupe {
namespace {

constexpr std::int64_t kPanel = 64;  // columns
constexpr std::int64_t kBlock = 64;  // rows
// A micro-kernel is compiled for each row count that it is asked for: so there are three only, and the last rows are padded.
constexpr std::int64_t kRowCounts[] = {kBlock, 32, 16};
constexpr std::int64_t kLeastRows = 16;

const at::BFloat16* as_aten(const Bf16* data) { return reinterpret_cast<const at::BFloat16*>(data); }

/// A product of which one thread computes parts: blocks of rows by panels of columns.
struct TiledProduct {
  const Bf16* left;
  const Bf16* panels;
  std::int64_t rows, inner, columns;

  /// sums[count, 64] of the rows from `row` on, 16, 32 or 64 of them, by panel `panel`.
  void sum(const Bf16* from, std::int64_t count, std::int64_t panel, bool add, float* sums, std::int64_t stride) const {
    const std::int64_t width = std::min(kPanel, columns - panel * kPanel);
    at::native::cpublas::brgemm(count, width, inner, inner, kPanel, stride, add, as_aten(from),
                                as_aten(panels + panel * kPanel * inner), sums, true);
  }
};

void put(const float* sums, std::int64_t count, float* to) {
  std::memcpy(to, sums, sizeof(float) * static_cast<std::size_t>(count));
}
void put(const float* sums, std::int64_t count, Bf16* to) { kernels<Bf16>().from_float(sums, count, to); }

/// The rows of one block by one panel, through a buffer of sums.
template <typename Out>
void multiply_block(const TiledProduct& product, std::int64_t first, std::int64_t last, std::int64_t panel, Bf16* padding,
                    Out* out) {
  alignas(64) float sums[kBlock * kPanel];
  const std::int64_t width = std::min(kPanel, product.columns - panel * kPanel);
  while (first < last) {
    std::int64_t count = kLeastRows;
    for (const std::int64_t rows : kRowCounts) count = rows <= last - first ? std::max(count, rows) : count;
    const Bf16* from = product.left + first * product.inner;
    const std::int64_t valid = std::min(count, last - first);
    if (valid < count) {
      std::memcpy(static_cast<void*>(padding), from, sizeof(Bf16) * static_cast<std::size_t>(valid * product.inner));
      from = padding;
    }
    product.sum(from, count, panel, false, sums, kPanel);
    for (std::int64_t row = 0; row < valid; ++row) {
      put(sums + row * kPanel, width, out + (first + row) * product.columns + panel * kPanel);
    }
    first += valid;
  }
}

/// Runs work(first row, last row, panel) over all blocks and panels, and lets go of the tiles after it.
template <typename Work>
void for_blocks(const TiledProduct& product, const Work& work) {
  const std::int64_t blocks = (product.rows + kBlock - 1) / kBlock, panels = (product.columns + kPanel - 1) / kPanel;
  constexpr std::int64_t kOperationsWorthAThread = 1 << 21;
  const std::int64_t operations = std::clamp(product.rows, kLeastRows, kBlock) * product.inner * kPanel;  // padded rows cost as much
  at::parallel_for(0, blocks * panels, 1 + kOperationsWorthAThread / operations, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor padding = at::zeros({kLeastRows * product.inner}, at::kBFloat16);
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t row = item / panels * kBlock;
      work(row, std::min(product.rows, row + kBlock), item % panels, static_cast<Bf16*>(padding.data_ptr()));
    }
    at::native::cpublas::brgemm_release(true);  // other oneDNN code on this thread sets its own
  });
}

template <typename Out>
void multiply(const Bf16* left, const at::Tensor& right, std::int64_t rows, std::int64_t inner, std::int64_t columns,
              Out* out) {
  const TiledProduct product{left, static_cast<const Bf16*>(right.const_data_ptr()), rows, inner, columns};
  for_blocks(product, [&](std::int64_t first, std::int64_t last, std::int64_t panel, Bf16* padding) {
    multiply_block(product, first, last, panel, padding, out);
  });
}

}  // namespace

bool bf16_tiles_serve(std::int64_t inner) {
  return inner % 2 == 0 && inner > 0 && at::native::cpublas::could_pack(at::kBFloat16);
}

at::Tensor pack_bf16_tiles(const Bf16* right, std::int64_t inner, std::int64_t columns) {
  const std::int64_t panels = (columns + kPanel - 1) / kPanel;
  at::Tensor packed = at::zeros({panels * kPanel * inner}, at::kBFloat16);
  Bf16* to = static_cast<Bf16*>(packed.data_ptr());
  at::parallel_for(0, panels, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      at::native::cpublas::pack(inner, std::min(kPanel, columns - panel * kPanel), columns, kPanel, at::kBFloat16,
                                at::kBFloat16, right + panel * kPanel, to + panel * kPanel * inner);
    }
  });
  return packed;
}

at::Tensor pack_bf16_tiles_transposed(const Bf16* w, std::int64_t columns, std::int64_t inner) {
  const std::int64_t panels = (columns + kPanel - 1) / kPanel, pairs = inner / 2;
  at::Tensor packed = at::empty({panels * kPanel * inner}, at::kBFloat16);
  // A pair of inner neighbours is one word: the panel is a transposed matrix of words, made in squares that stay in the cache.
  constexpr std::int64_t kSquare = 16;
  const Bf16 zeros[2] = {};
  Bf16* to = static_cast<Bf16*>(packed.data_ptr());
  at::parallel_for(0, panels, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin * kPanel / kSquare; item < end * kPanel / kSquare; ++item) {
      const std::int64_t first = item * kSquare;  // column
      Bf16* panel = to + first / kPanel * kPanel * inner + 2 * (first % kPanel);
      for (std::int64_t square = 0; square < pairs; square += kSquare) {
        for (std::int64_t pair = square; pair < std::min(pairs, square + kSquare); ++pair) {
          for (std::int64_t i = 0; i < kSquare; ++i) {
            const Bf16* from = first + i < columns ? w + (first + i) * inner + 2 * pair : zeros;
            std::memcpy(static_cast<void*>(panel + 2 * (pair * kPanel + i)), from, 2 * sizeof(Bf16));
          }
        }
      }
    }
  });
  return packed;
}

void multiply_bf16_tiles(const Bf16* left, const at::Tensor& right, std::int64_t rows, std::int64_t inner,
                         std::int64_t columns, Bf16* out) {
  multiply(left, right, rows, inner, columns, out);
}

void multiply_bf16_tiles(const Bf16* left, const at::Tensor& right, std::int64_t rows, std::int64_t inner,
                         std::int64_t columns, float* out) {
  multiply(left, right, rows, inner, columns, out);
}

void add_bf16_tiles(const Bf16* left, const at::Tensor& right, std::int64_t rows, std::int64_t inner, std::int64_t columns,
                    float* out) {
  const TiledProduct product{left, static_cast<const Bf16*>(right.const_data_ptr()), rows, inner, columns};
  for_blocks(product, [&](std::int64_t first, std::int64_t last, std::int64_t panel, Bf16* padding) {
    float* to = out + panel * kPanel;
    while (last - first >= kLeastRows) {
      std::int64_t count = kLeastRows;
      for (const std::int64_t rows_at_once : kRowCounts) {
        count = rows_at_once <= last - first ? std::max(count, rows_at_once) : count;
      }
      product.sum(left + first * inner, count, panel, true, to + first * columns, columns);
      first += count;
    }
    if (first == last) return;
    alignas(64) float sums[kLeastRows * kPanel];
    std::memcpy(static_cast<void*>(padding), left + first * inner,
                sizeof(Bf16) * static_cast<std::size_t>((last - first) * inner));
    product.sum(padding, kLeastRows, panel, false, sums, kPanel);
    const std::int64_t width = std::min(kPanel, columns - panel * kPanel);
    for (std::int64_t row = first; row < last; ++row) {
      kernels<float>().add_rows(sums + (row - first) * kPanel, 1, width, to + row * columns);
    }
  });
}

}  // namespace troupe
