#include "common/model/kernels/simd/table.h"
#include "common/model/kernels/simd/vector.h"

// A product is cut into tiles of kTileRows rows by one panel of columns, whose sums stay in registers while k runs from 0 to
// its end: every element is one chain of fused multiply-adds over k, whatever the tile it falls into.

namespace troupe::TROUPE_ISA {

#if defined(__AVX512F__)
constexpr int kTileRows = 6, kPanelVectors = 4;  // 24 of 32 registers hold sums
#elif defined(__FMA__)
constexpr int kTileRows = 6, kPanelVectors = 1;  // a vector is two of 16 registers
#else
constexpr int kTileRows = 2, kPanelVectors = 1;
#endif
constexpr std::int64_t kPanel = 16 * kPanelVectors;

/// Columns of the panel that begins at `column`, rounded up to whole vectors.
TROUPE_INLINE std::int64_t panel_width(std::int64_t n, std::int64_t column) {
  return n - column >= kPanel ? kPanel : (n - column + 15) / 16 * 16;
}

/// One tile of R rows and Vectors * 16 columns.
template <int R, int Vectors>
TROUPE_INLINE void tile(const float* left, std::int64_t row_stride, std::int64_t k_stride, const float* panel, std::int64_t k,
                        float* out, std::int64_t out_stride, std::int64_t columns, bool add) {
  V16 sum[R][Vectors] = {};
  for (std::int64_t i = 0; i < k; ++i) {
    V16 right[Vectors];
    for (int v = 0; v < Vectors; ++v) right[v] = load(panel + (i * Vectors + v) * 16);
    for (int r = 0; r < R; ++r) {
      const V16 a = all(left[r * row_stride + i * k_stride]);
      for (int v = 0; v < Vectors; ++v) sum[r][v] = fma(a, right[v], sum[r][v]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < Vectors; ++v) {
      float* to = out + r * out_stride + v * 16;
      const std::int64_t left_over = columns - v * 16;
      store_upto(to, add ? load_upto(to, left_over) + sum[r][v] : sum[r][v], left_over);
    }
  }
}

template <int Vectors>
void tile_of(std::int64_t rows, const float* left, std::int64_t row_stride, std::int64_t k_stride, const float* panel,
             std::int64_t k, float* out, std::int64_t out_stride, std::int64_t columns, bool add) {
  switch (rows) {
    case 1: return tile<1, Vectors>(left, row_stride, k_stride, panel, k, out, out_stride, columns, add);
    case 2: return tile<2, Vectors>(left, row_stride, k_stride, panel, k, out, out_stride, columns, add);
    case 3: return tile<3, Vectors>(left, row_stride, k_stride, panel, k, out, out_stride, columns, add);
    case 4: return tile<4, Vectors>(left, row_stride, k_stride, panel, k, out, out_stride, columns, add);
    case 5: return tile<5, Vectors>(left, row_stride, k_stride, panel, k, out, out_stride, columns, add);
    default: return tile<6, Vectors>(left, row_stride, k_stride, panel, k, out, out_stride, columns, add);
  }
}

void multiply_panels(const MatrixProduct& p, std::int64_t first_row, std::int64_t last_row, std::int64_t first_panel,
                     std::int64_t last_panel) {
  for (std::int64_t index = first_panel; index < last_panel; ++index) {
    const std::int64_t column = index * kPanel, columns = p.n - column;
    const float* panel = p.panels + column * p.k;
    for (std::int64_t row = first_row; row < last_row; row += kTileRows) {
      const std::int64_t rows = last_row - row < kTileRows ? last_row - row : kTileRows;
      const float* left = p.left + (p.left_packed ? row * p.k : row * p.left_stride);
      const std::int64_t row_stride = p.left_packed ? 1 : p.left_stride, k_stride = p.left_packed ? kTileRows : 1;
      float* out = p.out + row * p.n + column;
      const auto run = [&](auto tiles) { tiles(rows, left, row_stride, k_stride, panel, p.k, out, p.n, columns, p.add); };
      switch (panel_width(p.n, column) / 16) {
        case 1: run(tile_of<1>); break;
#if defined(__AVX512F__)
        case 2: run(tile_of<2>); break;
        case 3: run(tile_of<3>); break;
        default: run(tile_of<4>); break;
#endif
      }
    }
  }
}

void pack_transposed(const float* w, std::int64_t n, std::int64_t k, std::int64_t first_panel, std::int64_t last_panel,
                     float* panels) {
  for (std::int64_t index = first_panel; index < last_panel; ++index) {
    const std::int64_t first = index * kPanel, width = panel_width(n, first);
    float* panel = panels + first * k;
    for (std::int64_t i = 0; i < k; i += 16) {  // 16 elements of each row of w: whole cache lines
      const std::int64_t count = k - i < 16 ? k - i : 16;
      for (std::int64_t column = 0; column < width; ++column) {
        for (std::int64_t j = 0; j < count; ++j) {
          panel[(i + j) * width + column] = first + column < n ? w[(first + column) * k + i + j] : 0.0f;
        }
      }
    }
  }
}

void pack(const float* b, std::int64_t n, std::int64_t k, std::int64_t first_panel, std::int64_t last_panel, float* panels) {
  for (std::int64_t index = first_panel; index < last_panel; ++index) {
    const std::int64_t first = index * kPanel, width = panel_width(n, first);
    float* panel = panels + first * k;
    for (std::int64_t i = 0; i < k; ++i) {
      for (std::int64_t c = 0; c < width; c += 16) store(panel + i * width + c, load_upto(b + i * n + first + c, n - first - c));
    }
  }
}

void pack_left_transposed(const float* g, std::int64_t rows, std::int64_t k, std::int64_t first_row, std::int64_t last_row,
                          float* tiles) {
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t row = first_row; row < last_row; row += kTileRows) {
      float* to = tiles + row * k + i * kTileRows;
      const float* from = g + i * rows + row;
      if (last_row - row >= kTileRows) {
        std::memcpy(to, from, sizeof(float) * kTileRows);
      } else {
        for (std::int64_t r = 0; r < last_row - row; ++r) to[r] = from[r];
      }
    }
  }
}

MatrixKernels matrix_table() {
  return {kTileRows, kPanel, multiply_panels, pack_transposed, pack, pack_left_transposed};
}

}  // namespace troupe::TROUPE_ISA
