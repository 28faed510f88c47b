#include "actors/cuda/cuda_decoder.h"
#include "common/base/error.h"

// A build without CUDA.

namespace troupe {
namespace {

[[noreturn]] void refuse() {
  throw ConfigError("this build of troupe has no CUDA: configure it with TROUPE_CUDA=ON, or use device = cpu");
}

}  // namespace

std::unique_ptr<Decoder> make_cuda_decoder(const Parameters&, std::int64_t, std::int64_t, std::int64_t, bool) { refuse(); }
std::unique_ptr<Decoder> make_cuda_tensor_decoder(const Parameters&, int, std::int64_t, std::int64_t, std::int64_t, bool) { refuse(); }
double free_gpu_bytes() { refuse(); }
bool gpu_is_there() { return false; }

}  // namespace troupe
