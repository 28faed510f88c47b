#pragma once

#include "common/model/kernels/kernels.h"

namespace troupe::TROUPE_ISA {

// Each file of this folder enters its kernels.
template <typename T>
void fill_rms_norm(Kernels<T>& table);
template <typename T>
void fill_head_norm(Kernels<T>& table);
template <typename T>
void fill_rope(Kernels<T>& table);
template <typename T>
void fill_attention(Kernels<T>& table);
template <typename T>
void fill_attention_backward(Kernels<T>& table);
template <typename T>
void fill_swiglu(Kernels<T>& table);
template <typename T>
void fill_logits(Kernels<T>& table);
template <typename T>
void fill_draw(Kernels<T>& table);
template <typename T>
void fill_convert(Kernels<T>& table);
template <typename T>
void fill_update(Kernels<T>& table);

/// The kernels as compiled for TROUPE_ISA.
template <typename T>
Kernels<T> table();

MatrixKernels matrix_table();

}  // namespace troupe::TROUPE_ISA
