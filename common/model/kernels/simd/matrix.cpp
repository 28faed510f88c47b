#include "common/model/kernels/simd/table.h"
#include "common/model/kernels/simd/vector.h"

// A product is cut into tiles of kTileRows rows by one panel of columns, whose sums stay in registers while k runs over as much of the
// panel as stays in the first-level cache, and go on from there: every element is one chain of fused multiply-adds over k, whatever
// the tile it falls into.

namespace troupe::TROUPE_ISA {

#if defined(__AVX512F__)
constexpr int kTileRows = 6, kPanelVectors = 4;  // 24 of 32 registers hold sums
#elif defined(__FMA__)
constexpr int kTileRows = 6, kPanelVectors = 1;  // a vector is two of 16 registers
#else
constexpr int kTileRows = 2, kPanelVectors = 1;
#endif
constexpr std::int64_t kPanel = 16 * kPanelVectors;
constexpr std::int64_t kInner = 8192 / kPanel;  // steps of k at once: 32 KiB of a panel

/// Columns of the panel that begins at `column`, rounded up to whole vectors.
TROUPE_INLINE std::int64_t panel_width(std::int64_t n, std::int64_t column) {
  return n - column >= kPanel ? kPanel : (n - column + 15) / 16 * 16;
}

/// One tile of up to kTileRows rows and the columns of one panel.
struct Tile {
  const float* left;
  std::int64_t left_stride;
  const float* panel;
  const float* ahead;  // null, or memory to fetch meanwhile: 16 floats for each step of k
  std::int64_t k;
  float* out;
  std::int64_t out_stride, columns;
  bool go_on;  // the chains begin with what `out` has
};

template <int R, int Vectors>
TROUPE_INLINE void sum_tile(const Tile& t) {
  V16 sum[R][Vectors] = {};
  if (t.go_on) {
    for (int r = 0; r < R; ++r) {
      for (int v = 0; v < Vectors; ++v) sum[r][v] = load_upto(t.out + r * t.out_stride + v * 16, t.columns - v * 16);
    }
  }
  for (std::int64_t i = 0; i < t.k; ++i) {
    V16 right[Vectors];
    for (int v = 0; v < Vectors; ++v) right[v] = load(t.panel + (i * Vectors + v) * 16);
    if (t.ahead != nullptr) __builtin_prefetch(t.ahead + i * Vectors * 16, 0, 2);
    for (int r = 0; r < R; ++r) {
      const V16 a = all(t.left[r * t.left_stride + i]);
      for (int v = 0; v < Vectors; ++v) sum[r][v] = fma(a, right[v], sum[r][v]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < Vectors; ++v) store_upto(t.out + r * t.out_stride + v * 16, sum[r][v], t.columns - v * 16);
  }
}

template <int Vectors>
void sum_rows(std::int64_t rows, const Tile& t) {
  switch (rows) {
    case 1: return sum_tile<1, Vectors>(t);
    case 2: return sum_tile<2, Vectors>(t);
    case 3: return sum_tile<3, Vectors>(t);
    case 4: return sum_tile<4, Vectors>(t);
    case 5: return sum_tile<5, Vectors>(t);
    default: return sum_tile<6, Vectors>(t);
  }
}

/// The panel's last columns are a narrower panel.
TROUPE_INLINE void sum_panel(std::int64_t rows, std::int64_t width, const Tile& t) {
#if defined(__AVX512F__)
  switch (width / 16) {
    case 1: return sum_rows<1>(rows, t);
    case 2: return sum_rows<2>(rows, t);
    case 3: return sum_rows<3>(rows, t);
    default: return sum_rows<4>(rows, t);
  }
#else
  static_cast<void>(width);
  sum_rows<1>(rows, t);
#endif
}

void multiply_panels(const MatrixProduct& p, std::int64_t first_row, std::int64_t last_row, std::int64_t first_panel,
                     std::int64_t last_panel) {
  for (std::int64_t index = first_panel; index < last_panel; ++index) {
    const std::int64_t column = index * kPanel, width = panel_width(p.n, column);
    // The first rows of a panel wait for its memory; so the rows before it fetch the panel that comes next.
    const float* next = index + 1 < last_panel ? p.panels + (column + kPanel) * p.k : nullptr;
    for (std::int64_t begin = 0; begin < p.k; begin += kInner) {
      const std::int64_t inner = p.k - begin < kInner ? p.k - begin : kInner;
      Tile tile{nullptr, p.left_stride, p.panels + column * p.k + begin * width, nullptr, inner, nullptr, p.n, p.n - column, begin > 0};
      for (std::int64_t row = first_row; row < last_row; row += kTileRows) {
        tile.left = p.left + row * p.left_stride + begin;
        tile.out = p.out + row * p.n + column;
        const std::int64_t line = (row - first_row) / kTileRows;
        tile.ahead = next != nullptr && line < kPanelVectors ? next + begin * kPanel + line * 16 : nullptr;
        sum_panel(last_row - row < kTileRows ? last_row - row : kTileRows, width, tile);
      }
    }
  }
}

void pack_transposed(const float* w, std::int64_t n, std::int64_t k, std::int64_t first_panel, std::int64_t last_panel,
                     float* panels) {
  for (std::int64_t index = first_panel; index < last_panel; ++index) {
    const std::int64_t first = index * kPanel, width = panel_width(n, first);
    float* panel = panels + first * k;
    for (std::int64_t column = 0; column < width; column += 16) {
      for (std::int64_t i = 0; i < k; i += 16) {
        Square square{};
        for (int c = 0; c < 16 && first + column + c < n; ++c) {
          square.row[c] = bits_as<U16>(load_upto(w + (first + column + c) * k + i, k - i));
        }
        square = transposed(square);
        for (std::int64_t j = 0; j < 16 && i + j < k; ++j) store(panel + (i + j) * width + column, bits_as<V16>(square.row[j]));
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

MatrixKernels matrix_table() {
  return {kTileRows, kPanel, multiply_panels, pack_transposed, pack};
}

}  // namespace troupe::TROUPE_ISA
