#include "common/base/error.h"
#include "common/model/kernels/amx/tile_product.h"

// In the place of the matrix tiles where a CPU of another family computes: bf16_tiles_serve() is false there.

namespace troupe::amx {
namespace {

[[noreturn]] void refuse() { throw InternalError("matrix tiles: expected an x86 CPU"); }

}  // namespace

std::int64_t panels_size(std::int64_t, std::int64_t) { refuse(); }
std::int64_t left_tiles_size(std::int64_t, std::int64_t) { refuse(); }
void pack_panels(const Bf16*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, Bf16*) { refuse(); }
void pack_panels_transposed(const Bf16*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, Bf16*) { refuse(); }
void pack_left_transposed(const Bf16*, std::int64_t, std::int64_t, std::int64_t, std::int64_t, Bf16*) { refuse(); }

template <typename Out>
void multiply(const Product<Out>&, std::int64_t, std::int64_t, std::int64_t, std::int64_t) {
  refuse();
}
template void multiply(const Product<float>&, std::int64_t, std::int64_t, std::int64_t, std::int64_t);
template void multiply(const Product<Bf16>&, std::int64_t, std::int64_t, std::int64_t, std::int64_t);

}  // namespace troupe::amx
