#include "actors/cuda/cuda_decoder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAGuard.h>

#include "actors/cuda/draw_kernels.h"
#include "actors/tensor_decoder.h"
#include "common/base/error.h"
#include "common/model/cuda/cuda_passes.h"
#include "common/model/cuda/device.h"
#include "common/model/cuda/peer_group.h"
#include "common/model/kv_cache.h"
#include "common/model/passes.h"
#include "common/model/tensor_cut.h"
#include "common/model/transformer.h"

// S slots, N drawn rows, H hidden, V vocabulary.

namespace troupe {
namespace {

/// Rows of a graph: the next of these, so that few graphs serve all numbers of rows and little is computed for nobody.
std::int64_t graph_rows(std::int64_t rows) {
  const std::int64_t step = rows <= 4 ? 1 : rows <= 64 ? 8 : rows <= 256 ? 32 : 64;
  return (rows + step - 1) / step * step;
}

/// Arrays of one number a slot, laid out one behind the other alike on the host and on the GPU, so that one copy takes them over.
/// The host has them twice: those of a step are written while those of the step before may still be on their way.
class SlotArrays {
 public:
  explicit SlotArrays(std::int64_t slots) : slots_((slots + 3) / 4 * 4) {
    const std::int64_t bytes = slots_ * (kTruncations + static_cast<std::int64_t>(sizeof(cuda::Truncation)));
    for (at::Tensor& host : host_) host = at::empty({bytes}, at::TensorOptions(at::kByte).pinned_memory(true));
    device_ = at::zeros({bytes}, on_gpu(at::kByte));
  }

  struct Row {
    std::int64_t id = 0;
    double uniform = 0;
    float temperature = 1;
    std::int32_t position = 0, slot = -1, length = 0, shared_tokens = 0;
    cuda::Truncation truncation;
  };
  void choose(std::size_t side) { side_ = side; }
  void set(std::int64_t index, const Row& row) {
    host<std::int64_t>(kIds)[index] = row.id;
    host<double>(kUniforms)[index] = row.uniform;
    host<float>(kTemperatures)[index] = row.temperature;
    host<std::int32_t>(kPositions)[index] = row.position;
    host<std::int32_t>(kSlots)[index] = row.slot;
    host<std::int32_t>(kLengths)[index] = row.length;
    host<std::int32_t>(kSharedTokens)[index] = row.shared_tokens;
    host<cuda::Truncation>(kTruncations)[index] = row.truncation;
  }
  void upload() const {
    check_cuda(cudaMemcpyAsync(device_.mutable_data_ptr(), host_[side_].const_data_ptr(), host_[side_].nbytes(), cudaMemcpyHostToDevice, current_stream()),
               "cudaMemcpyAsync");
  }

  at::Tensor ids(std::int64_t rows) const { return view(kIds, rows, at::kLong); }
  at::Tensor uniforms(std::int64_t rows) const { return view(kUniforms, rows, at::kDouble); }
  at::Tensor temperatures(std::int64_t rows) const { return view(kTemperatures, rows, at::kFloat); }
  at::Tensor positions(std::int64_t rows) const { return view(kPositions, rows, at::kInt); }
  at::Tensor slots(std::int64_t rows) const { return view(kSlots, rows, at::kInt); }
  at::Tensor lengths(std::int64_t rows) const { return view(kLengths, rows, at::kInt); }
  at::Tensor shared_tokens(std::int64_t rows) const { return view(kSharedTokens, rows, at::kInt); }
  const cuda::Truncation* truncations() const {
    return reinterpret_cast<const cuda::Truncation*>(static_cast<const char*>(device_.const_data_ptr()) + kTruncations * slots_);
  }

 private:
  // Offsets in bytes for one slot.
  static constexpr std::int64_t kIds = 0, kUniforms = 8, kTemperatures = 16, kPositions = 20, kSlots = 24, kLengths = 28, kSharedTokens = 32,
                                kTruncations = 36;

  template <typename T>
  T* host(std::int64_t array) const {
    return reinterpret_cast<T*>(static_cast<char*>(host_[side_].mutable_data_ptr()) + array * slots_);
  }
  at::Tensor view(std::int64_t array, std::int64_t rows, at::ScalarType dtype) const {
    return device_.narrow(0, array * slots_, rows * static_cast<std::int64_t>(c10::elementSize(dtype))).view(dtype);
  }

  std::int64_t slots_;
  std::array<at::Tensor, 2> host_;
  at::Tensor device_;
  std::size_t side_ = 0;
};

class CudaDecoder : public Decoder {
 public:
  /// Captures graphs one at a time of those with the same `capturing`.
  CudaDecoder(const Parameters& parameters, std::int64_t pages, std::int64_t slots, std::int64_t positions, bool exact,
              std::shared_ptr<std::mutex> capturing)
      : parameters_(on_device(parameters)),
        model_(parameters_, exact),
        cache_(parameters.architecture(), pages, at::kBFloat16, at::kCUDA),
        rope_(model_.rope(positions)),
        slots_(graph_rows(slots)),
        arrays_(slots_),
        page_stride_(pages_of(positions) + 1),
        pages_(at::zeros({slots_, page_stride_}, on_gpu(at::kInt))),
        page_tables_(static_cast<std::size_t>(slots_ * page_stride_)),
        drawn_(at::empty({2, slots_}, on_gpu(at::kInt))),
        sides_{Side(slots_, page_stride_), Side(slots_, page_stride_)},
        stream_(c10::cuda::getStreamFromPool()),
        capturing_(std::move(capturing)) {}

  ~CudaDecoder() override { static_cast<void>(cudaStreamSynchronize(stream_)); }

  void begin(const ForwardPlan& plan, std::span<const Draw> draws, std::uint64_t version) override {
    const c10::InferenceMode no_autograd;
    const c10::cuda::CUDAStreamGuard guard(stream_);
    Side& side = sides_[begun_++ % 2];
    arrays_.choose((begun_ - 1) % 2);
    const auto single = [](const CachedRun& run) { return run.tokens == 1; };
    decoding_ = draws.size() == plan.ids.size() && model_.cuda()->decodes() && std::ranges::all_of(plan.runs, single);
    side.version = version;
    side.draws.assign(draws.begin(), draws.end());
    side.needs_host = std::ranges::any_of(draws, needs_host);
    side.logits_NV = decoding_ ? decode(plan, draws, side) : compute(plan, draws);
    check_cuda(cudaMemcpyAsync(side.drawn.mutable_data_ptr(), drawn_.const_data_ptr(), drawn_.nbytes(), cudaMemcpyDeviceToHost, current_stream()), "cudaMemcpyAsync");
    side.done.record(stream_);
  }

  void finish(std::span<DrawnToken> drawn) override {
    const c10::InferenceMode no_autograd;
    const c10::cuda::CUDAStreamGuard guard(stream_);
    Side& side = sides_[finished_++ % 2];
    check_cuda(cudaEventSynchronize(side.done.event()), "a generation step");
    for (std::size_t row = 0; row < side.draws.size(); ++row) {
      const Draw& draw = side.draws[row];
      drawn[row] = {data_of<std::int32_t>(side.drawn)[row], data_of<float>(side.drawn)[static_cast<std::size_t>(slots_) + row]};
      if (drawn[row].id < 0) throw_broken_row(draw, side.version, "a logit is not finite: the weights or the forward pass are broken");
      if (side.needs_host && needs_host(draw)) drawn[row] = draw_on_host(draw, side.logits_NV.select(0, static_cast<std::int64_t>(row)), side.version);
    }
    side.logits_NV = at::Tensor();
  }

  bool may_run_ahead() const override { return decoding_ && !sides_[(begun_ - 1) % 2].needs_host; }

  void set_weights(Parameters parameters) override {
    const c10::InferenceMode no_autograd;
    const c10::cuda::CUDAStreamGuard guard(stream_);
    parameters_.flat().copy_(parameters.flat());
    check_cuda(cudaStreamSynchronize(current_stream()), "taking new weights");
  }

 private:
  /// What a step has on the host. There are two, since a step may be begun before the one before it is finished.
  struct Side {
    Side(std::int64_t slots, std::int64_t page_stride)
        : pages(at::empty({slots, page_stride}, at::TensorOptions(at::kInt).pinned_memory(true))),
          drawn(at::empty({2, slots}, at::TensorOptions(at::kInt).pinned_memory(true))) {}
    at::Tensor pages, drawn, logits_NV;
    std::vector<Draw> draws;
    std::uint64_t version = 0;
    bool needs_host = false;
    at::cuda::CUDAEvent done;
  };
  struct Graph {
    at::cuda::CUDAGraph graph;
    at::Tensor logits_NV;
  };

  static Parameters on_device(const Parameters& parameters) {
    Parameters copy = parameters.on(at::kCUDA, at::kBFloat16);
    check_cuda(cudaStreamSynchronize(current_stream()), "taking the first weights");  // the decoder's stream is another
    return copy;
  }

  static bool is_truncated(const Draw& draw) {
    const SamplingParams& s = *draw.place.sampling;
    return s.temperature > 0 && (s.top_k > 0 || s.top_p < 1.0 || s.min_p > 0);
  }

  /// What the kernels do not draw: distributions that lack the stop ids.
  static bool needs_host(const Draw& draw) { return !draw.banned.empty(); }

  DrawnToken draw_on_host(const Draw& draw, const at::Tensor& row, std::uint64_t version) {
    const at::Tensor logits = row.cpu();
    try {
      return draw_token({logits.const_data_ptr<float>(), static_cast<std::size_t>(logits.numel())}, *draw.place.sampling, draw.banned,
                        draw.uniform, scratch_);
    } catch (const DeviceError& error) {
      throw_broken_row(draw, version, error.what());
    }
  }

  /// Any plan: the logits of its draws, drawn from.
  at::Tensor compute(const ForwardPlan& plan, std::span<const Draw> draws) {
    const at::Tensor ids = at::from_blob(const_cast<std::int64_t*>(plan.ids.data()), {std::ssize(plan.ids)}, at::kLong);
    at::Tensor hidden = model_.forward_cached(ids, plan.runs, cache_);
    if (draws.empty()) return {};
    if (plan.draws.size() < plan.ids.size()) {
      const at::Tensor rows = at::from_blob(const_cast<std::int64_t*>(plan.draws.data()), {std::ssize(plan.draws)}, at::kLong);
      hidden = hidden.index_select(0, rows.to(at::kCUDA));
    }
    for (std::size_t i = 0; i < draws.size(); ++i) arrays_.set(static_cast<std::int64_t>(i), row_of(draws[i]));
    arrays_.upload();
    const at::Tensor logits_NV = model_.logits(hidden);
    draw_rows(logits_NV, std::ranges::any_of(draws, is_truncated));
    return logits_NV;
  }

  static SlotArrays::Row row_of(const Draw& draw) {
    SlotArrays::Row row;
    row.uniform = draw.uniform;
    const SamplingParams& sampling = *draw.place.sampling;
    row.temperature = static_cast<float>(sampling.temperature);
    row.truncation = {sampling.top_p, static_cast<float>(sampling.min_p), sampling.top_k};
    return row;
  }

  /// A plan whose rows all continue sequences, one each.
  at::Tensor decode(const ForwardPlan& plan, std::span<const Draw> draws, Side& side) {
    const auto count = static_cast<std::int64_t>(draws.size()), rows = graph_rows(count);
    std::int64_t used_pages = 1;
    bool changed = false;
    for (std::int64_t i = 0; i < count; ++i) {
      const CachedRun& run = plan.runs[static_cast<std::size_t>(i)];
      SlotArrays::Row row = row_of(draws[static_cast<std::size_t>(i)]);
      row.id = plan.ids[static_cast<std::size_t>(i)];
      const std::int64_t own = run.first_position - run.shared_tokens;
      row.position = static_cast<std::int32_t>(run.first_position);
      row.length = row.position + 1;
      row.shared_tokens = static_cast<std::int32_t>(run.shared_tokens);
      row.slot = run.pages[static_cast<std::size_t>(own / kPageTokens)] * static_cast<std::int32_t>(kPageTokens) + static_cast<std::int32_t>(own % kPageTokens);
      arrays_.set(i, row);
      const auto shared = run.shared_pages.first(static_cast<std::size_t>(pages_of(run.shared_tokens)));
      const auto own_pages = run.pages.first(static_cast<std::size_t>(pages_of(own + 1)));
      changed = take_pages(page_tables_.data() + i * page_stride_, shared, own_pages) || changed;
      used_pages = std::max(used_pages, std::ssize(shared) + std::ssize(own_pages));
    }
    for (std::int64_t i = count; i < rows; ++i) arrays_.set(i, {});
    arrays_.upload();
    if (changed) upload_pages(side, count, used_pages);
    const bool truncated = std::ranges::any_of(draws, is_truncated);
    const TensorCut* const cut = model_.parameters().cut();
    if (cut != nullptr && !cut->group().sums_in_graphs()) return launch(rows, truncated);
    Graph& graph = graph_of(rows, truncated);
    graph.graph.replay();
    return graph.logits_NV;
  }

  /// Whether the row's table was another one.
  static bool take_pages(std::int32_t* table, std::span<const std::int32_t> shared, std::span<const std::int32_t> own) {
    const bool same = std::ranges::equal(shared, std::span(table, shared.size())) && std::ranges::equal(own, std::span(table + shared.size(), own.size()));
    if (!same) std::ranges::copy(own, std::ranges::copy(shared, table).out);
    return !same;
  }

  void upload_pages(Side& side, std::int64_t rows, std::int64_t pages) {
    auto* const from = data_of<std::int32_t>(side.pages);
    for (std::int64_t row = 0; row < rows; ++row) std::copy_n(page_tables_.data() + row * page_stride_, pages, from + row * page_stride_);
    const auto pitch = static_cast<std::size_t>(page_stride_) * sizeof(std::int32_t);
    check_cuda(cudaMemcpy2DAsync(pages_.mutable_data_ptr(), pitch, from, pitch, static_cast<std::size_t>(pages) * sizeof(std::int32_t),
                                 static_cast<std::size_t>(rows), cudaMemcpyHostToDevice, current_stream()),
               "cudaMemcpy2DAsync");
  }

  Graph& graph_of(std::int64_t rows, bool truncated) {
    const auto [place, is_new] = graphs_.try_emplace({rows, truncated});
    if (!is_new) return place->second;
    launch(rows, truncated);  // what is made on first use must not be made during the capture
    check_cuda(cudaStreamSynchronize(current_stream()), "the first step of so many rows");
    capture(place->second, rows, truncated);
    // A graph's kernels wait for the other ranks', so none runs before all ranks have theirs.
    if (const TensorCut* const cut = model_.parameters().cut()) cut->group().gather(at::empty({0}));
    return place->second;
  }

  void capture(Graph& graph, std::int64_t rows, bool truncated) {
    const std::lock_guard lock(*capturing_);
    graph.graph.capture_begin(pool_, cudaStreamCaptureModeThreadLocal);  // other threads fetch weights
    graph.logits_NV = launch(rows, truncated);
    graph.graph.capture_end();
    pool_ = graph.graph.pool();
  }

  /// `truncated`: whether any row is drawn from what truncation leaves.
  at::Tensor launch(std::int64_t rows, bool truncated) {
    cuda::take_drawn(data_of<std::int64_t>(arrays_.ids(rows)), rows, data_of<std::int32_t>(drawn_), current_stream());
    const DecodeInputs inputs{arrays_.ids(rows),     arrays_.positions(rows),     arrays_.slots(rows),
                              arrays_.lengths(rows), arrays_.shared_tokens(rows), pages_.narrow(0, 0, rows)};
    const at::Tensor logits_NV = model_.logits(model_.cuda()->decode(inputs, rope_, cache_));
    draw_rows(logits_NV, truncated);
    return logits_NV;
  }

  void draw_rows(const at::Tensor& logits_NV, bool truncated) {
    const std::int64_t rows = logits_NV.size(0), vocabulary = logits_NV.size(1);
    const at::Tensor partials = at::empty({cuda::draw_partials(rows, vocabulary)}, on_gpu(at::kFloat));
    cuda::draw_tokens({data_of<float>(logits_NV), rows, vocabulary, data_of<float>(arrays_.temperatures(rows)),
                       data_of<double>(arrays_.uniforms(rows)), truncated ? arrays_.truncations() : nullptr, data_of<float>(partials), data_of<std::int32_t>(drawn_),
                       data_of<float>(drawn_) + slots_},
                      current_stream());
  }

  Parameters parameters_;
  Transformer model_;
  KvCache cache_;
  at::Tensor rope_;
  std::int64_t slots_;
  SlotArrays arrays_;
  std::int64_t page_stride_;
  at::Tensor pages_;           // [S, page_stride]
  std::vector<std::int32_t> page_tables_;  // the same on the host
  at::Tensor drawn_;           // [2, S] of the last step: ids, and log-probabilities, which are fp32
  std::array<Side, 2> sides_;
  std::uint64_t begun_ = 0, finished_ = 0;
  bool decoding_ = false;  // the last step begun is one token for each sequence
  c10::cuda::CUDAStream stream_;
  std::map<std::pair<std::int64_t, bool>, Graph> graphs_;  // by rows, and whether any may be truncated
  at::cuda::MempoolId_t pool_{0, 0};
  std::shared_ptr<std::mutex> capturing_;  // shared by the decoders of a tensor group, whose ranks may be on one GPU
  SamplerScratch scratch_;
};

}  // namespace

std::unique_ptr<Decoder> make_cuda_decoder(const Parameters& parameters, std::int64_t pages, std::int64_t slots, std::int64_t positions,
                                           bool exact) {
  return std::make_unique<CudaDecoder>(parameters, pages, slots, positions, exact, std::make_shared<std::mutex>());
}

std::unique_ptr<Decoder> make_cuda_tensor_decoder(const Parameters& whole, int ranks, std::int64_t pages, std::int64_t slots,
                                                  std::int64_t positions, bool exact) {
  int first = 0, gpus = 0;
  check_cuda(cudaGetDevice(&first), "cudaGetDevice");
  check_cuda(cudaGetDeviceCount(&gpus), "cudaGetDeviceCount");
  const auto peers = std::make_shared<PeerRanks>(ranks);
  const auto capturing = std::make_shared<std::mutex>();
  const auto group = [=](ThreadRanks& threads, int rank) {
    check_cuda(cudaSetDevice((first + rank) % gpus), "cudaSetDevice");  // of this thread, from now on
    return peers->group(threads, rank);
  };
  return make_tensor_decoder(whole, ranks, {group, [=](const Parameters& part) {
                                              return std::make_unique<CudaDecoder>(part, pages, slots, positions, exact, capturing);
                                            }});
}

double free_gpu_bytes() {
  std::size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return static_cast<double>(free);
}

bool gpu_is_there() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

}  // namespace troupe
