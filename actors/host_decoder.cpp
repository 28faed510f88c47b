#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "actors/decoder.h"
#include "common/base/error.h"
#include "common/model/kv_cache.h"
#include "common/model/row_share.h"
#include "common/model/transformer.h"

// N drawn rows, T rows of a forward, H hidden, V vocabulary.

namespace troupe {
namespace {

constexpr std::int64_t kLogitsPerTask = 16384;  // below, handing rows to another thread costs more than it saves

class HostDecoder : public Decoder {
 public:
  HostDecoder(Parameters parameters, std::int64_t pages, std::int64_t slots)
      : model_(parameters),
        cache_(parameters.architecture(), pages, parameters.flat().scalar_type()),
        scratch_(static_cast<std::size_t>(slots)) {
    model_.prepare();
  }

  void begin(const ForwardPlan& plan, std::span<const Draw> draws, std::uint64_t version) override {
    const c10::InferenceMode no_autograd;
    const RowShare share(model_.parameters(), std::ssize(draws));
    const at::Tensor logits_NV = logits_of(plan, share);
    drawn_.resize(draws.size());
    if (draws.empty()) return;
    const std::int64_t vocabulary = logits_NV.size(1);
    const at::Tensor contiguous = logits_NV.contiguous();
    const float* logits = contiguous.const_data_ptr<float>();
    const auto draw_rows = [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        const auto index = static_cast<std::size_t>(share.begin() + row);
        const Draw& draw = draws[index];
        const std::span<const float> row_of_logits(logits + row * vocabulary, static_cast<std::size_t>(vocabulary));
        try {
          drawn_[index] = draw_token(row_of_logits, *draw.place.sampling, draw.banned, draw.uniform, scratch_[index]);
        } catch (const DeviceError& error) {
          throw_broken_row(draw, version, error.what());
        }
      }
    };
    at::parallel_for(0, logits_NV.size(0), std::max<std::int64_t>(1, kLogitsPerTask / vocabulary), draw_rows);
    if (model_.parameters().cut() != nullptr) share_drawn(share);
  }

  void finish(std::span<DrawnToken> drawn) override { std::ranges::copy(drawn_, drawn.begin()); }
  bool may_run_ahead() const override { return false; }

  void set_weights(Parameters parameters) override {
    model_ = Transformer(std::move(parameters));
    model_.prepare();
  }

 private:
  /// Those that this rank draws from.
  at::Tensor logits_of(const ForwardPlan& plan, const RowShare& share) {
    const std::int64_t rows = std::ssize(plan.ids);
    const at::Tensor ids = at::from_blob(const_cast<std::int64_t*>(plan.ids.data()), {rows}, at::kLong);
    at::Tensor hidden = model_.forward_cached(ids, plan.runs, cache_);
    const auto draws = static_cast<std::int64_t>(plan.draws.size());
    if (draws == 0) return {};
    if (draws < rows) {
      hidden = hidden.index_select(0, at::from_blob(const_cast<std::int64_t*>(plan.draws.data()), {draws}, at::kLong));
    }
    return model_.logits(share.own(hidden));
  }

  /// The tokens that the ranks have drawn, each for its rows, to all.
  void share_drawn(const RowShare& share) {
    static_assert(sizeof(DrawnToken) == sizeof(std::int64_t));
    const at::Tensor drawn = at::from_blob(drawn_.data(), {std::ssize(drawn_)}, at::kLong);
    drawn.copy_(share.all(share.own(drawn)));
  }

  Transformer model_;
  KvCache cache_;
  std::vector<SamplerScratch> scratch_;  // one for each draw of a step
  std::vector<DrawnToken> drawn_;
};

}  // namespace

void throw_broken_row(const Draw& draw, std::uint64_t version, const std::string& what) {
  throw DeviceError("group " + std::to_string(draw.place.group) + ", sample " + std::to_string(draw.place.sample) + ", position " +
                    std::to_string(draw.place.position) + ", policy version " + std::to_string(version) + ": " + what);
}

std::unique_ptr<Decoder> make_host_decoder(Parameters parameters, std::int64_t pages, std::int64_t slots) {
  return std::make_unique<HostDecoder>(std::move(parameters), pages, slots);
}

}  // namespace troupe
