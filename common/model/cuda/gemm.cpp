#include "common/model/cuda/gemm.h"

#include <array>
#include <map>
#include <mutex>
#include <string>

#include <ATen/Functions.h>
#include <cublasLt.h>

#include "common/base/error.h"
#include "common/model/cuda/device.h"

namespace troupe {
namespace {

constexpr std::int64_t kWorkspaceBytes = 32 << 20;
constexpr int kMostGpus = 64;

void check_cublas(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw DeviceError(std::string(call) + ": " + cublasLtGetStatusString(status));
}

/// One column-major product as cuBLASLt takes it: out[m, n] = op(left) · op(right), inner dimension k.
struct Shape {
  cublasOperation_t left_op, right_op;
  std::int64_t m, n, k;
  std::int64_t left_stride, right_stride;
  cudaDataType_t out_type;
  bool add;
  bool exact;
  auto operator<=>(const Shape&) const = default;
};

/// What cuBLASLt needs to run a product again.
struct Plan {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t left = nullptr, right = nullptr, out = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
};

cublasLtMatrixLayout_t layout_of(cudaDataType_t type, std::int64_t rows, std::int64_t columns, std::int64_t stride) {
  cublasLtMatrixLayout_t layout = nullptr;
  check_cublas(cublasLtMatrixLayoutCreate(&layout, type, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(columns), stride),
               "cublasLtMatrixLayoutCreate");
  return layout;
}

/// The library's handle for a GPU, its workspaces and the plans of every shape seen. For the life of the process.
class Products {
 public:
  /// Those of the thread's current GPU.
  static Products& instance() {
    static auto* const all = new std::array<Products, kMostGpus>;  // never destroyed: CUDA may be gone before static objects
    int device = 0;
    check_cuda(cudaGetDevice(&device), "cudaGetDevice");
    check(device < kMostGpus, "a host has at most so many GPUs");
    return (*all)[static_cast<std::size_t>(device)];
  }

  void run(const Shape& shape, const void* left, const void* right, void* out) {
    const std::lock_guard lock(mutex_);
    if (handle_ == nullptr) check_cublas(cublasLtCreate(&handle_), "cublasLtCreate");
    auto place = plans_.find(shape);
    if (place == plans_.end()) place = plans_.emplace(shape, plan_of(shape)).first;
    const Plan& plan = place->second;
    const float alpha = 1.0F, beta = shape.add ? 1.0F : 0.0F;
    check_cublas(cublasLtMatmul(handle_, plan.operation, &alpha, left, plan.left, right, plan.right, &beta, out, plan.out, out,
                                plan.out, &plan.algorithm, workspace(), kWorkspaceBytes, current_stream()),
                 "cublasLtMatmul");
  }

 private:
  /// That of the current stream: products of two streams run at once.
  void* workspace() {
    at::Tensor& own = workspaces_[current_stream()];
    if (!own.defined()) own = at::empty({kWorkspaceBytes}, on_gpu(at::kByte));
    return own.data_ptr();
  }

  Plan plan_of(const Shape& shape) {
    Plan plan;
    check_cublas(cublasLtMatmulDescCreate(&plan.operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, cublasOperation_t operation) {
      check_cublas(cublasLtMatmulDescSetAttribute(plan.operation, attribute, &operation, sizeof(operation)), "cublasLtMatmulDescSetAttribute");
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, shape.left_op);
    set(CUBLASLT_MATMUL_DESC_TRANSB, shape.right_op);
    const bool left_plain = shape.left_op == CUBLAS_OP_N, right_plain = shape.right_op == CUBLAS_OP_N;
    plan.left = layout_of(CUDA_R_16BF, left_plain ? shape.m : shape.k, left_plain ? shape.k : shape.m, shape.left_stride);
    plan.right = layout_of(CUDA_R_16BF, right_plain ? shape.k : shape.n, right_plain ? shape.n : shape.k, shape.right_stride);
    plan.out = layout_of(shape.out_type, shape.m, shape.n, shape.m);

    cublasLtMatmulPreference_t preference = nullptr;
    check_cublas(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    const std::uint64_t bytes = kWorkspaceBytes;
    check_cublas(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof(bytes)),
                 "cublasLtMatmulPreferenceSetAttribute");
    const std::uint32_t schemes = shape.exact ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_MASK;
    check_cublas(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof(schemes)),
                 "cublasLtMatmulPreferenceSetAttribute");
    int found = 0;
    cublasLtMatmulHeuristicResult_t result{};
    check_cublas(cublasLtMatmulAlgoGetHeuristic(handle_, plan.operation, plan.left, plan.right, plan.out, plan.out, preference, 1, &result, &found),
                 "cublasLtMatmulAlgoGetHeuristic");
    check_cublas(cublasLtMatmulPreferenceDestroy(preference), "cublasLtMatmulPreferenceDestroy");
    if (found == 0) {
      throw DeviceError("cuBLASLt has no algorithm for a product of " + std::to_string(shape.m) + " x " + std::to_string(shape.n) +
                        " x " + std::to_string(shape.k));
    }
    plan.algorithm = result.algo;
    return plan;
  }

  std::mutex mutex_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<cudaStream_t, at::Tensor> workspaces_;
  std::map<Shape, Plan> plans_;
};

void check_matrix(const at::Tensor& matrix, std::int64_t rows, std::int64_t columns, const char* name) {
  check(matrix.is_cuda() && matrix.is_contiguous() && matrix.dim() == 2 && matrix.size(0) == rows && matrix.size(1) == columns, name);
}

cudaDataType_t type_of(const at::Tensor& tensor) { return tensor.scalar_type() == at::kFloat ? CUDA_R_32F : CUDA_R_16BF; }

void plain_product(const at::Tensor& g, const at::Tensor& w, const at::Tensor& out, bool add) {
  const std::int64_t rows = g.size(0), n = w.size(0), k = w.size(1);
  check_matrix(g, rows, n, "multiply: g is [rows, n]");
  check_matrix(out, rows, k, "multiply: out is [rows, k]");
  if (rows == 0) return;
  const Shape shape{CUBLAS_OP_N, CUBLAS_OP_N, k, rows, n, k, n, type_of(out), add, false};
  Products::instance().run(shape, w.const_data_ptr(), g.const_data_ptr(), out.mutable_data_ptr());
}

}  // namespace

void multiply_transposed(const at::Tensor& x, const at::Tensor& w, const at::Tensor& out, Rows exactness) {
  const std::int64_t rows = x.size(0), n = w.size(0), k = w.size(1);
  check_matrix(x, rows, k, "multiply_transposed: x is [rows, k]");
  check_matrix(out, rows, n, "multiply_transposed: out is [rows, n]");
  if (rows == 0) return;
  const Shape shape{CUBLAS_OP_T, CUBLAS_OP_N, n, rows, k, k, k, type_of(out), false, exactness == Rows::kExact};
  Products::instance().run(shape, w.const_data_ptr(), x.const_data_ptr(), out.mutable_data_ptr());
}

void multiply(const at::Tensor& g, const at::Tensor& w, const at::Tensor& out) { plain_product(g, w, out, false); }

void add_product(const at::Tensor& g, const at::Tensor& w, const at::Tensor& out) { plain_product(g, w, out, true); }

void add_weight_gradient(const at::Tensor& g, const at::Tensor& x, const at::Tensor& grad) {
  const std::int64_t rows = g.size(0), n = g.size(1), k = x.size(1);
  check_matrix(x, rows, k, "add_weight_gradient: x is [rows, k]");
  check_matrix(grad, n, k, "add_weight_gradient: grad is [n, k]");
  if (rows == 0) return;
  const Shape shape{CUBLAS_OP_N, CUBLAS_OP_T, k, n, rows, k, n, CUDA_R_32F, true, false};
  Products::instance().run(shape, x.const_data_ptr(), g.const_data_ptr(), grad.mutable_data_ptr());
}

}  // namespace troupe
