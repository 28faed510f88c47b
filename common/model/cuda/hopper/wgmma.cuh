#pragma once

#include <cstdint>

// The matrix instructions of a warpgroup (four warps, 64 rows) on Hopper GPUs, bf16 operands and fp32 sums: d = a b + (add ? d : 0).
// Lane l of warp w has, of d, rows 16 w + l / 4 (elements 4 j, 4 j + 1) and eight rows below (4 j + 2, 4 j + 3) of columns
// 8 j + 2 (l % 4) and the next. Operands in shared memory lie in panels of 64 columns (128 bytes) with the 128-byte swizzle that the
// copy engine writes; a panel begins at a multiple of 1024 bytes.

namespace troupe::cuda {

/// Where an operand lies in shared memory: one whose rows run along the inner dimension, or a right one whose rows ARE it.
struct AlongInner {
  std::uint64_t place;
  static constexpr int kTransposed = 0;
};
struct RowsAreInner {
  std::uint64_t place;
  static constexpr int kTransposed = 1;
};

/// 16 inner elements from `address` on.
__device__ __forceinline__ AlongInner matrix_at(std::uint32_t address) {
  constexpr std::uint64_t kSwizzle128 = 1ULL << 62, kGroupBytes = 1024 >> 4;  // eight rows
  return {kSwizzle128 | kGroupBytes << 32 | 1ULL << 16 | (address & 0x3FFFF) >> 4};
}

/// 16 rows from `address` on, the operand's panels `panel_bytes` apart.
__device__ __forceinline__ RowsAreInner rows_at(std::uint32_t address, std::uint32_t panel_bytes) {
  constexpr std::uint64_t kSwizzle128 = 1ULL << 62, kGroupBytes = 1024 >> 4;
  return {kSwizzle128 | kGroupBytes << 32 | static_cast<std::uint64_t>(panel_bytes >> 4) << 16 | (address & 0x3FFFF) >> 4};
}

/// Before the first of several products: their registers are written.
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
/// The products since the last call are one group.
__device__ __forceinline__ void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
/// Waits until at most kPending groups are under way.
template <int kPending>
__device__ __forceinline__ void await_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// Keeps what the compiler does with registers of a product in its place.
template <int kCount>
__device__ __forceinline__ void pin(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// The sums' registers, from d[i] on.
#define TROUPE_SUMS_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define TROUPE_SUMS_16(i) TROUPE_SUMS_4(i), TROUPE_SUMS_4(i + 4), TROUPE_SUMS_4(i + 8), TROUPE_SUMS_4(i + 12)
#define TROUPE_SUMS_32(i) TROUPE_SUMS_16(i), TROUPE_SUMS_16(i + 16)

// Left operands in shared memory.

template <typename Right>
__device__ __forceinline__ void multiply(float (&d)[32], AlongInner a, Right b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, p, 1, 1, 0, %35;\n}\n"
      : TROUPE_SUMS_32(0)
      : "l"(a.place), "l"(b.place), "r"(static_cast<int>(add)), "n"(Right::kTransposed));
}

template <typename Right>
__device__ __forceinline__ void multiply(float (&d)[128], AlongInner a, Right b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
      "%128, %129, p, 1, 1, 0, %131;\n}\n"
      : TROUPE_SUMS_32(0), TROUPE_SUMS_32(32), TROUPE_SUMS_32(64), TROUPE_SUMS_32(96)
      : "l"(a.place), "l"(b.place), "r"(static_cast<int>(add)), "n"(Right::kTransposed));
}

// Left operands in registers.

template <typename Right>
__device__ __forceinline__ void multiply(float (&d)[32], const std::uint32_t (&a)[4], Right b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "{%32, %33, %34, %35}, %36, p, 1, 1, %38;\n}\n"
      : TROUPE_SUMS_32(0)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.place), "r"(static_cast<int>(add)), "n"(Right::kTransposed));
}

template <typename Right>
__device__ __forceinline__ void multiply(float (&d)[64], const std::uint32_t (&a)[4], Right b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, p, 1, 1, %70;\n}\n"
      : TROUPE_SUMS_32(0), TROUPE_SUMS_32(32)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.place), "r"(static_cast<int>(add)), "n"(Right::kTransposed));
}

#undef TROUPE_SUMS_4
#undef TROUPE_SUMS_16
#undef TROUPE_SUMS_32

}  // namespace troupe::cuda
