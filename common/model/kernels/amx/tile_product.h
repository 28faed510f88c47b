#pragma once

#include <cstdint>

#include "common/model/kernels/kernels.h"

// Products of bf16 matrices by the CPU's matrix tiles (AMX), on the calling thread. A tile is 16 rows of 64 bytes: of a left
// operand 16 rows by 32 inner elements, of a right one 16 pairs of inner rows by 16 columns, interleaved. Every element of a product
// is one chain of tiles over the inner dimension, in order: its bits depend on its row and its column alone.

namespace troupe::amx {

inline constexpr std::int64_t kTileRows = 16;      // also columns of a right operand's tile
inline constexpr std::int64_t kTileInner = 32;     // inner elements
inline constexpr std::int64_t kPanelColumns = 16;  // a right operand lies in panels of so many columns, one tile behind the other

/// Elements of a right operand in panels, both sizes rounded up to whole tiles and filled with zeros.
std::int64_t panels_size(std::int64_t inner, std::int64_t columns);
/// Elements of a left operand in tiles, likewise.
std::int64_t left_tiles_size(std::int64_t rows, std::int64_t inner);

/// Panels [first, last) of right[inner, columns].
void pack_panels(const Bf16* right, std::int64_t inner, std::int64_t columns, std::int64_t first, std::int64_t last, Bf16* panels);
/// The same of right = wᵀ for w[columns, inner].
void pack_panels_transposed(const Bf16* w, std::int64_t inner, std::int64_t columns, std::int64_t first, std::int64_t last,
                            Bf16* panels);
/// Tile rows [first, last), of 16 rows each, of left = gᵀ for g[inner, rows], as [rows / 16][inner / 32] tiles.
void pack_left_transposed(const Bf16* g, std::int64_t inner, std::int64_t rows, std::int64_t first, std::int64_t last, Bf16* tiles);

/// out[rows, columns] = left · right.
template <typename Out>
struct Product {
  const Bf16* left;  // rows of inner elements, or tiles
  bool left_in_tiles;
  const Bf16* panels;
  std::int64_t rows, inner, columns;
  Out* out;
  bool add;  // out += instead of out =
};

/// The part of the product in these rows and panels. first_row is a multiple of kTileRows. Leaves the thread's tiles unconfigured.
template <typename Out>
void multiply(const Product<Out>& product, std::int64_t first_row, std::int64_t last_row, std::int64_t first_panel,
              std::int64_t last_panel);

}  // namespace troupe::amx
