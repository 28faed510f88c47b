#include "common/model/kernels/amx/tile_product.h"

#include "common/model/kernels/simd/vector.h"

namespace troupe::amx {
namespace {

constexpr std::int64_t kTileElements = kTileRows * kTileInner;

std::int64_t steps_of(std::int64_t inner) { return (inner + kTileInner - 1) / kTileInner; }

/// Makes the compiler write what it holds back: g++'s tile instructions do not tell it what memory they read.
TROUPE_INLINE void written(const void* memory) { asm volatile("" : : "r"(memory) : "memory"); }

/// What the CPU reads to set up its eight tiles.
struct alignas(64) TileSetup {
  std::uint8_t palette = 1, start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};
};

// Tiles 0 and 1 sum the upper rows and tiles 2 and 3 the lower ones, or, where there are no lower rows, 0 to 3 four neighbouring
// columns of tiles; 4 and 5 are the upper and lower rows of the left operand, 6 and 7 tiles of the right one.
class TileRows {
 public:
  ~TileRows() { _tile_release(); }
  void set(std::int64_t upper, std::int64_t lower) {
    if (upper == upper_ && lower == lower_) return;
    upper_ = upper;
    lower_ = lower;
    TileSetup setup;
    const std::int64_t second = lower > 0 ? lower : upper;
    const std::int64_t rows[8] = {upper, upper, second, second, upper, second, kTileRows, kTileRows};
    for (int tile = 0; tile < 8; ++tile) {
      setup.row_bytes[tile] = 64;
      setup.rows[tile] = static_cast<std::uint8_t>(rows[tile]);
    }
    written(&setup);
    _tile_loadconfig(&setup);
  }

 private:
  std::int64_t upper_ = 0, lower_ = 0;
};

/// Up to 32 rows of the left operand, a tile's width at a time.
class LeftRows {
 public:
  template <typename Out>
  LeftRows(const Product<Out>& p, std::int64_t first_row, std::int64_t rows)
      : data_(p.left_in_tiles ? p.left + first_row * steps_of(p.inner) * kTileInner : p.left + first_row * p.inner),
        row_(p.left_in_tiles ? kTileInner : p.inner),
        step_(p.left_in_tiles ? kTileElements : kTileInner),
        lower_(kTileRows * (p.left_in_tiles ? steps_of(p.inner) * kTileInner : p.inner)) {
    const std::int64_t left = p.inner % kTileInner;
    if (p.left_in_tiles || left == 0) return;
    ragged_ = steps_of(p.inner) - 1;
    std::memset(static_cast<void*>(last_), 0, sizeof(last_));
    for (std::int64_t row = 0; row < rows; ++row) {
      std::memcpy(static_cast<void*>(last_ + row * kTileInner), data_ + row * row_ + ragged_ * kTileInner,
                  sizeof(Bf16) * static_cast<std::size_t>(left));
    }
    written(last_);
  }
  const Bf16* upper(std::int64_t step) const { return step == ragged_ ? last_ : data_ + step * step_; }
  const Bf16* lower(std::int64_t step) const { return step == ragged_ ? last_ + kTileElements : data_ + lower_ + step * step_; }
  /// Bytes from row to row.
  std::int64_t stride(std::int64_t step) const {
    return static_cast<std::int64_t>(sizeof(Bf16)) * (step == ragged_ ? kTileInner : row_);
  }

 private:
  const Bf16* data_;
  std::int64_t row_, step_, lower_;
  std::int64_t ragged_ = -1;  // the step whose elements do not fill a tile
  Bf16 last_[2 * kTileElements];  // there and filled up with zeros
};

constexpr std::int64_t kTileBytes = 64;  // of a row

/// sums[32][16 Panels]: rows of both halves by neighbouring panels.
template <int Panels>
void sum_square(const LeftRows& left, const Bf16* panel, std::int64_t steps, float* sums) {
  const Bf16* second = panel + steps * kTileElements;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::int64_t step = 0; step < steps; ++step) {
    const std::int64_t stride = left.stride(step);
    _tile_loadd(4, left.upper(step), stride);
    _tile_loadd(6, panel + step * kTileElements, kTileBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, left.lower(step), stride);
    _tile_dpbf16ps(2, 5, 6);
    if constexpr (Panels > 1) {
      _tile_loadd(7, second + step * kTileElements, kTileBytes);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  constexpr std::int64_t kWidth = Panels * kTileRows, kStride = sizeof(float) * kWidth;
  _tile_stored(0, sums, kStride);
  _tile_stored(2, sums + kTileRows * kWidth, kStride);
  if constexpr (Panels > 1) {
    _tile_stored(1, sums + kTileRows, kStride);
    _tile_stored(3, sums + kTileRows * kWidth + kTileRows, kStride);
  }
}

/// sums[16][16 Panels]: the upper rows by neighbouring panels. Four streams of memory are read faster than one.
template <int Panels>
void sum_strip(const LeftRows& left, const Bf16* panel, std::int64_t steps, float* sums) {
  const std::int64_t panel_size = steps * kTileElements;
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::int64_t step = 0; step < steps; ++step, panel += kTileElements) {
    _tile_loadd(4, left.upper(step), left.stride(step));
    _tile_loadd(6, panel, kTileBytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (Panels > 1) {
      _tile_loadd(7, panel + panel_size, kTileBytes);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (Panels > 2) {
      _tile_loadd(6, panel + 2 * panel_size, kTileBytes);
      _tile_dpbf16ps(2, 4, 6);
      _tile_loadd(7, panel + 3 * panel_size, kTileBytes);
      _tile_dpbf16ps(3, 4, 7);
    }
  }
  constexpr std::int64_t kStride = sizeof(float) * Panels * kTileRows;
  _tile_stored(0, sums, kStride);
  if constexpr (Panels > 1) _tile_stored(1, sums + kTileRows, kStride);
  if constexpr (Panels > 2) {
    _tile_stored(2, sums + 2 * kTileRows, kStride);
    _tile_stored(3, sums + 3 * kTileRows, kStride);
  }
}

void sum_panels(std::int64_t panels, bool square, const LeftRows& left, const Bf16* panel, std::int64_t steps, float* sums) {
  if (square) return panels == 1 ? sum_square<1>(left, panel, steps, sums) : sum_square<2>(left, panel, steps, sums);
  switch (panels) {
    case 1: return sum_strip<1>(left, panel, steps, sums);
    case 2: return sum_strip<2>(left, panel, steps, sums);
    default: return sum_strip<4>(left, panel, steps, sums);
  }
}

/// Takes sums of `rows` rows and `width` columns to the product's rows from `row` and columns from `column` on.
template <typename Out>
void put(const Product<Out>& p, const float* sums, std::int64_t width, std::int64_t row, std::int64_t rows, std::int64_t column) {
  const std::int64_t columns = p.columns - column < width ? p.columns - column : width;
  for (std::int64_t r = 0; r < rows; ++r) {
    Out* to = p.out + (row + r) * p.columns + column;
    for (std::int64_t c = 0; c < columns; c += 16) {
      const V16 sum = load(sums + r * width + c);
      store_upto(to + c, p.add ? load_upto(to + c, columns - c) + sum : sum, columns - c);
    }
  }
}

}  // namespace

template <typename Out>
void multiply(const Product<Out>& p, std::int64_t first_row, std::int64_t last_row, std::int64_t first_panel,
              std::int64_t last_panel) {
  alignas(64) float sums[4 * kTileRows * kTileRows];
  const std::int64_t steps = steps_of(p.inner), most = last_row - first_row > kTileRows ? 2 : 4;
  TileRows tile_rows;
  for (std::int64_t panel = first_panel; panel < last_panel;) {
    const std::int64_t left_over = last_panel - panel, panels = left_over >= most ? most : left_over >= 2 ? 2 : 1;
    for (std::int64_t row = first_row; row < last_row; row += 2 * kTileRows) {
      const std::int64_t rows = last_row - row < 2 * kTileRows ? last_row - row : 2 * kTileRows;
      const std::int64_t upper = rows < kTileRows ? rows : kTileRows;
      tile_rows.set(upper, rows - upper);
      const LeftRows left(p, row, rows);
      sum_panels(panels, rows > upper, left, p.panels + panel * steps * kTileElements, steps, sums);
      put(p, sums, panels * kPanelColumns, row, rows, panel * kPanelColumns);
    }
    panel += panels;
  }
}
template void multiply(const Product<float>&, std::int64_t, std::int64_t, std::int64_t, std::int64_t);
template void multiply(const Product<Bf16>&, std::int64_t, std::int64_t, std::int64_t, std::int64_t);

}  // namespace troupe::amx
