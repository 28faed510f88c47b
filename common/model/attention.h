#pragma once

#include <span>
#include <vector>

#include "common/model/kv_cache.h"
#include "common/model/passes.h"

// Attention over the rows of a forward pass: packed sequences (the learner's) and sequences in a cache (the actor's). Both fill
// attended(layer) from qkv(layer). T is the compute type.

namespace troupe {

/// Each row attends to the rows of its sequence's prefix and of its sequence up to itself: to the same bits as if they were one.
template <typename T>
void attend_packed(const ModelView<T>& model, const ActivationView<T>& view, std::int64_t layer, const PackedSequences& batch);

/// Writes the rows' keys and values to the cache and attends to what it holds of their sequences.
template <typename T>
class CachedAttention {
 public:
  /// Refers to all of its arguments. Checks the runs against the rows and the cache.
  CachedAttention(const ModelView<T>& model, const ActivationView<T>& view, std::span<const CachedRun> runs, KvCache& cache);

  void attend(std::int64_t layer) const;

 private:
  struct Head {
    const CachedRun& run;
    std::int64_t row, kv_head;
  };
  Head head_of(std::int64_t item) const;
  T* keys_at(std::int64_t layer, std::int32_t page, std::int64_t kv_head) const;
  T* values_at(std::int64_t layer, std::int32_t page, std::int64_t kv_head) const;
  void store(std::int64_t layer, const Head& head) const;
  std::vector<KeyRange<T>> ranges_of(std::int64_t layer, const Head& head) const;

  const ModelView<T>& model_;
  const ActivationView<T>& view_;
  std::span<const CachedRun> runs_;
  KvCache& cache_;
  std::vector<std::int64_t> rows_;  // first row of each run
  std::int64_t longest_ = 0;        // positions of a sequence
  bool separate_ = true;            // no run reads what another one writes, so that storing and attending go together
};

}  // namespace troupe
