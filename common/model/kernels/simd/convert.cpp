#include "common/model/kernels/simd/table.h"
#include "common/model/kernels/simd/vector.h"

namespace troupe::TROUPE_ISA {

template <typename From, typename To>
void convert(const From* from, std::int64_t count, To* to) {
  for (std::int64_t i = 0; i < count; i += 16) store_upto(to + i, load_upto(from + i, count - i), count - i);
}

template <typename T>
void add_rows(const T* rows_, std::int64_t rows, std::int64_t width, float* to) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t i = 0; i < width; i += 16) {
      store_upto(to + i, load_upto(to + i, width - i) + load_upto(rows_ + row * width + i, width - i), width - i);
    }
  }
}

template <typename T>
void fill_convert(Kernels<T>& table) {
  table.to_float = convert<T, float>;
  table.from_float = convert<float, T>;
  table.add_rows = add_rows<T>;
}
template void fill_convert(Kernels<float>&);
template void fill_convert(Kernels<Bf16>&);

}  // namespace troupe::TROUPE_ISA
