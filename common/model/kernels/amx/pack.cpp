#include "common/model/kernels/amx/tile_product.h"
#include "common/model/kernels/simd/vector.h"

namespace troupe::amx {
namespace {

constexpr std::int64_t kTileElements = kTileRows * kTileInner;

std::int64_t steps_of(std::int64_t inner) { return (inner + kTileInner - 1) / kTileInner; }

void put(const Square& words, Bf16* tile) { std::memcpy(static_cast<void*>(tile), &words, sizeof(words)); }

/// Rows 0 to 31 of a matrix, of which there are `rows`, and sixteen columns, of which there are `columns`, in pairs of rows.
TROUPE_INLINE Square pairs_of_rows(const Bf16* from, std::int64_t stride, std::int64_t rows, std::int64_t columns) {
  const auto high_halves = [&](std::int64_t row) {
    return row < rows && columns > 0 ? bits_as<U16>(load_upto(from + row * stride, columns)) : U16{};
  };
  Square words;
  for (int i = 0; i < 16; ++i) words.row[i] = (high_halves(2 * i) >> 16) | high_halves(2 * i + 1);
  return words;
}

/// Sixteen rows of a matrix, of which there are `rows`, and 32 columns, of which there are `columns`.
TROUPE_INLINE Square rows_of_pairs(const Bf16* from, std::int64_t stride, std::int64_t rows, std::int64_t columns) {
  Square words{};
  const std::int64_t count = columns < kTileInner ? columns : kTileInner;
  for (int i = 0; i < 16 && i < rows; ++i) {
    std::memcpy(&words.row[i], from + i * stride, sizeof(Bf16) * static_cast<std::size_t>(count));
  }
  return words;
}

}  // namespace

std::int64_t panels_size(std::int64_t inner, std::int64_t columns) {
  return (columns + kPanelColumns - 1) / kPanelColumns * kPanelColumns * steps_of(inner) * kTileInner;
}

std::int64_t left_tiles_size(std::int64_t rows, std::int64_t inner) {
  return (rows + kTileRows - 1) / kTileRows * steps_of(inner) * kTileElements;
}

void pack_panels(const Bf16* right, std::int64_t inner, std::int64_t columns, std::int64_t first, std::int64_t last, Bf16* panels) {
  for (std::int64_t panel = first; panel < last; ++panel) {
    for (std::int64_t step = 0; step < steps_of(inner); ++step) {
      const std::int64_t column = panel * kPanelColumns, row = step * kTileInner;
      put(pairs_of_rows(right + row * columns + column, columns, inner - row, columns - column),
          panels + (panel * steps_of(inner) + step) * kTileElements);
    }
  }
}

void pack_panels_transposed(const Bf16* w, std::int64_t inner, std::int64_t columns, std::int64_t first, std::int64_t last,
                            Bf16* panels) {
  for (std::int64_t panel = first; panel < last; ++panel) {
    for (std::int64_t step = 0; step < steps_of(inner); ++step) {
      const std::int64_t column = panel * kPanelColumns, row = step * kTileInner;
      put(transposed(rows_of_pairs(w + column * inner + row, inner, columns - column, inner - row)),
          panels + (panel * steps_of(inner) + step) * kTileElements);
    }
  }
}

void pack_left_transposed(const Bf16* g, std::int64_t inner, std::int64_t rows, std::int64_t first, std::int64_t last, Bf16* tiles) {
  for (std::int64_t tile_row = first; tile_row < last; ++tile_row) {
    for (std::int64_t step = 0; step < steps_of(inner); ++step) {
      const std::int64_t column = tile_row * kTileRows, row = step * kTileInner;
      put(transposed(pairs_of_rows(g + row * rows + column, rows, inner - row, rows - column)),
          tiles + (tile_row * steps_of(inner) + step) * kTileElements);
    }
  }
}

}  // namespace troupe::amx
