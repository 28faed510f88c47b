#pragma once

#include <ATen/ATen.h>  // before doctest: both define CHECK, the last one counts
#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "learner/gathered_units.h"
#include "learner/tensor_ranks.h"
#include "learner/token_pass.h"
#include "tests/common/collective/run_ranks.h"
#include "tests/common/model/model_testing.h"

// Forward and backward passes of ranks that hold a model together.

namespace troupe::testing {

/// On the CPU.
struct Passed {
  at::Tensor logp_N, entropy_N;
  at::Tensor gradients;  // [total] of the whole model
};

/// Sequences of 17 to 47 tokens, 571 rows: two chunks of the products. 495 completion tokens, an odd number.
inline std::vector<std::vector<std::int32_t>> texts_for(std::int64_t vocabulary) {
  std::vector<std::vector<std::int32_t>> texts;
  for (std::int64_t i = 0; i < 19; ++i) {
    const at::Tensor ids = sequences_of({17 + 7 * i % 31}, vocabulary, static_cast<std::uint64_t>(i + 1)).ids_T;
    texts.emplace_back(ids.const_data_ptr<std::int64_t>(), ids.const_data_ptr<std::int64_t>() + ids.numel());
  }
  return texts;
}

inline Passed pass_over(const Parameters& parameters, const std::vector<std::vector<std::int32_t>>& texts, Recompute recompute = Recompute::kNone) {
  std::vector<TokenSequence> sequences;
  for (const auto& text : texts) sequences.push_back({text, 5});
  const Transformer model(parameters);
  TokenPass pass(model, sequences, 0.8, recompute);
  at::Tensor flat = at::zeros({parameters.layout().total}, parameters.flat().options().dtype(at::kFloat));
  WholeGradients gradients(parameters.layout(), flat);
  pass.backward(at::arange(pass.tokens().logp_N.numel(), at::kFloat).mul_(0.7).sin_(), gradients);
  return {pass.tokens().logp_N, pass.tokens().entropy_N, flat.cpu()};
}

inline Parameters part_of_model(const Parameters& whole, Communicator& ranks, at::Device device = at::kCPU) {
  const Parameters part(std::make_shared<TensorCut>(whole.architecture(), std::make_shared<TensorRanks>(ranks.split(0))),
                        whole.flat().scalar_type(), device);
  set_from_whole_(part, whole.flat(), ranks);
  return part;
}

/// The terms that the ranks add to the whole model's gradients.
inline void sum_terms_(Passed& passed, const Parameters& part, Communicator& ranks) {
  const TensorCut& cut = *part.cut();
  at::Tensor whole = at::zeros({cut.whole_layout().total}, at::kFloat);
  for (std::size_t unit = 0; unit + 1 < part.layout().units.size(); ++unit) {
    const std::vector<std::int64_t>&own = part.layout().units, &all = cut.whole_layout().units;
    cut.put_(static_cast<std::int64_t>(unit), passed.gradients.narrow(0, own[unit], own[unit + 1] - own[unit]), cut.group().rank(),
             whole.narrow(0, all[unit], all[unit + 1] - all[unit]));
  }
  ranks.all_reduce_sum(std::span(whole.mutable_data_ptr<float>(), static_cast<std::size_t>(whole.numel())), "gradients");
  passed.gradients = whole;
}

/// What each of `count` ranks comes to.
inline std::vector<Passed> passed_on(int count, const Parameters& whole, Recompute recompute = Recompute::kNone,
                                     const std::function<at::Device(int rank)>& device = [](int) { return at::Device(at::kCPU); }) {
  const auto texts = texts_for(whole.architecture().vocabulary);
  std::vector<Passed> all(static_cast<std::size_t>(count));
  const auto errors = run_ranks(count, 60, [&](Communicator& ranks) {
    const Parameters part = part_of_model(whole, ranks, device(ranks.rank()));
    Passed passed = pass_over(part, texts, recompute);
    sum_terms_(passed, part, ranks);
    all[static_cast<std::size_t>(ranks.rank())] = passed;
  });
  for (const std::string& error : errors) CHECK(error == "");
  return all;
}

}  // namespace troupe::testing
