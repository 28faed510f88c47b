#pragma once

#include <functional>
#include <memory>

#include "actors/decoder.h"
#include "common/model/thread_ranks.h"

namespace troupe {

/// What the ranks of a decoder compute with, made in each rank's thread.
struct DecoderRanks {
  /// The rank's place among the others.
  std::function<std::shared_ptr<TensorGroup>(ThreadRanks& ranks, int rank)> group;
  /// Its decoder, of its part of the model.
  std::function<std::unique_ptr<Decoder>(Parameters part)> decoder;
};

/// `count` threads that hold a model together as the learners' ranks do (TensorCut), each with a decoder and a cache of its heads:
/// all do every plan and come to the same tokens. Weights are given whole, and each rank takes its part.
std::unique_ptr<Decoder> make_tensor_decoder(const Parameters& whole, int count, DecoderRanks make);

/// On the CPU, whose cores the ranks share out.
std::unique_ptr<Decoder> make_host_tensor_decoder(const Parameters& whole, int count, std::int64_t pages, std::int64_t slots);

}  // namespace troupe
