#include "common/model/attention.h"

#include <array>
#include <cstring>

#include <ATen/Functions.h>

#include "common/base/error.h"

namespace troupe {
namespace {

/// Items of one token and key head that are worth waking a thread for.
template <typename T>
std::int64_t items_worth_a_thread(const ModelView<T>& model, std::int64_t positions) {
  constexpr std::int64_t kOperationsWorthAThread = 1 << 18;
  return 1 + kOperationsWorthAThread / (4 * model.group() * model.architecture.head_size * positions);
}

/// The attention of `tokens` rows from `row` on and one key head; the ranges are for the caller to set.
template <typename T>
AttentionRun<T> attention_run(const ModelView<T>& model, const ActivationView<T>& view, std::int64_t layer, std::int64_t row,
                              std::int64_t tokens, std::int64_t kv_head) {
  const Architecture& a = model.architecture;
  const std::int64_t head = kv_head * model.group();
  AttentionRun<T> attention{};
  attention.query_stride = model.qkv_width();
  attention.queries = view.qkv(layer) + row * attention.query_stride + head * a.head_size;
  attention.output_stride = model.attended_width();
  attention.outputs = view.attended(layer) + row * attention.output_stride + head * a.head_size;
  attention.lse_stride = a.heads;
  attention.lse = view.lse(layer) == nullptr ? nullptr : view.lse(layer) + row * a.heads + head;
  attention.tokens = tokens;
  attention.group = model.group();
  attention.head_size = a.head_size;
  return attention;
}

}  // namespace

template <typename T>
void attend_packed(const ModelView<T>& model, const ActivationView<T>& view, std::int64_t layer, const PackedSequences& batch) {
  const Architecture& a = model.architecture;
  const std::int64_t width = model.qkv_width();
  std::int64_t longest = 0;
  for (std::int64_t s = 0; s < batch.sequences(); ++s) longest = std::max(longest, batch.rows(s).prefix_tokens + batch.rows(s).tokens);
  at::parallel_for(0, batch.sequences() * a.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor scratch = at::empty({attention_scratch(longest, a.head_size)}, at::kFloat);
    const at::Tensor packed_keys = at::empty({(longest + 2 * kKeyBlock) * a.head_size}, view.dtype());
    for (std::int64_t item = begin; item < end; ++item) {
      const PackedSequences::Rows rows = batch.rows(item / a.kv_heads);
      const std::int64_t kv_head = item % a.kv_heads;
      std::array<KeyRange<T>, 2> ranges;
      std::int64_t count = 0;
      T* packed = data_of<T>(packed_keys);
      const auto add = [&](std::int64_t row, std::int64_t tokens) {
        const T* keys = view.qkv(layer) + row * width + (a.heads + kv_head) * a.head_size;
        kernels<T>().pack_keys(keys, width, tokens, a.head_size, 0, packed);
        ranges[static_cast<std::size_t>(count++)] = {packed, keys + a.kv_heads * a.head_size, tokens};
        packed += (tokens + kKeyBlock - 1) / kKeyBlock * kKeyBlock * a.head_size;
      };
      if (rows.prefix_tokens > 0) add(rows.prefix_begin, rows.prefix_tokens);
      add(rows.begin, rows.tokens);
      AttentionRun<T> attention = attention_run(model, view, layer, rows.begin, rows.tokens, kv_head);
      attention.first_position = rows.prefix_tokens;
      attention.ranges = ranges.data();
      attention.range_count = count;
      attention.value_stride = width;
      kernels<T>().attend(attention, data_of<float>(scratch));
    }
  });
}

template <typename T>
CachedAttention<T>::CachedAttention(const ModelView<T>& model, const ActivationView<T>& view, std::span<const CachedRun> runs,
                                    KvCache& cache)
    : model_(model), view_(view), runs_(runs), cache_(cache) {
  std::vector<bool> written(static_cast<std::size_t>(cache.pages), false);
  std::int64_t rows = 0;
  const auto is_page = [&](std::int32_t page) { return page >= 0 && page < cache.pages; };
  for (const CachedRun& run : runs) {
    const std::int64_t own = run.first_position + run.tokens - run.shared_tokens;
    check(run.tokens > 0 && run.shared_tokens >= 0 && run.first_position >= run.shared_tokens, "a run goes on after its prefix");
    check(std::ssize(run.shared_pages) >= pages_of(run.shared_tokens) && std::ssize(run.pages) >= pages_of(own),
          "a run's positions lie in its pages");
    check(std::ranges::all_of(run.shared_pages, is_page) && std::ranges::all_of(run.pages, is_page), "pages of the cache");
    rows_.push_back(rows);
    rows += run.tokens;
    longest_ = std::max(longest_, run.first_position + run.tokens);
    for (const std::int32_t page : run.pages) {
      separate_ = separate_ && !written[static_cast<std::size_t>(page)];
      written[static_cast<std::size_t>(page)] = true;
    }
  }
  for (const CachedRun& run : runs) {
    for (const std::int32_t page : run.shared_pages) separate_ = separate_ && !written[static_cast<std::size_t>(page)];
  }
  check(rows == view.rows(), "the runs have the rows of the forward");
}

template <typename T>
CachedAttention<T>::Head CachedAttention<T>::head_of(std::int64_t item) const {
  const auto run = static_cast<std::size_t>(item / model_.architecture.kv_heads);
  return {runs_[run], rows_[run], item % model_.architecture.kv_heads};
}

template <typename T>
T* CachedAttention<T>::keys_at(std::int64_t layer, std::int32_t page, std::int64_t kv_head) const {
  const Architecture& a = model_.architecture;
  return data_of<T>(cache_.keys) + ((layer * cache_.pages + page) * a.kv_heads + kv_head) * kPageTokens * a.head_size;
}

template <typename T>
T* CachedAttention<T>::values_at(std::int64_t layer, std::int32_t page, std::int64_t kv_head) const {
  return data_of<T>(cache_.values) + (keys_at(layer, page, kv_head) - data_of<T>(cache_.keys));
}

template <typename T>
void CachedAttention<T>::store(std::int64_t layer, const Head& head) const {
  const Architecture& a = model_.architecture;
  const std::int64_t width = model_.qkv_width(), size = a.head_size;
  const T* keys = view_.qkv(layer) + head.row * width + (a.heads + head.kv_head) * size;
  const std::int64_t first = head.run.first_position - head.run.shared_tokens;
  for (std::int64_t done = 0; done < head.run.tokens;) {
    const std::int64_t at = (first + done) % kPageTokens, rows = std::min(kPageTokens - at, head.run.tokens - done);
    const std::int32_t page = head.run.pages[static_cast<std::size_t>((first + done) / kPageTokens)];
    kernels<T>().pack_keys(keys + done * width, width, rows, size, at, keys_at(layer, page, head.kv_head));
    T* values = values_at(layer, page, head.kv_head) + at * size;
    for (std::int64_t row = 0; row < rows; ++row) {
      std::memcpy(static_cast<void*>(values + row * size), keys + (done + row) * width + a.kv_heads * size,
                  sizeof(T) * static_cast<std::size_t>(size));
    }
    done += rows;
  }
}

/// Everything that the run's last token sees.
template <typename T>
std::vector<KeyRange<T>> CachedAttention<T>::ranges_of(std::int64_t layer, const Head& head) const {
  std::vector<KeyRange<T>> ranges;
  const auto add = [&](std::span<const std::int32_t> pages, std::int64_t tokens) {
    for (std::size_t i = 0; tokens > 0; tokens -= kPageTokens, ++i) {
      ranges.push_back({keys_at(layer, pages[i], head.kv_head), values_at(layer, pages[i], head.kv_head),
                        std::min(tokens, kPageTokens)});
    }
  };
  add(head.run.shared_pages, head.run.shared_tokens);
  add(head.run.pages, head.run.first_position + head.run.tokens - head.run.shared_tokens);
  return ranges;
}

template <typename T>
void CachedAttention<T>::attend(std::int64_t layer) const {
  const Architecture& a = model_.architecture;
  const auto items = std::ssize(runs_) * a.kv_heads;
  const std::int64_t worth = items_worth_a_thread(model_, longest_);
  if (!separate_) {
    at::parallel_for(0, items, worth, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t item = begin; item < end; ++item) store(layer, head_of(item));
    });
  }
  at::parallel_for(0, items, worth, [&](std::int64_t begin, std::int64_t end) {
    const at::Tensor scratch = at::empty({attention_scratch(longest_, a.head_size)}, at::kFloat);
    std::vector<KeyRange<T>> ranges, next = ranges_of(layer, head_of(begin));
    for (std::int64_t item = begin; item < end; ++item) {
      const Head head = head_of(item);
      if (separate_) store(layer, head);
      std::swap(ranges, next);
      next = item + 1 < end ? ranges_of(layer, head_of(item + 1)) : std::vector<KeyRange<T>>();
      AttentionRun<T> attention = attention_run(model_, view_, layer, head.row, head.run.tokens, head.kv_head);
      attention.first_position = head.run.first_position;
      attention.ranges = ranges.data();
      attention.range_count = std::ssize(ranges);
      attention.value_stride = a.head_size;
      attention.next_ranges = next.data();
      attention.next_range_count = std::ssize(next);
      kernels<T>().attend(attention, data_of<float>(scratch));
    }
  });
}

template void attend_packed(const ModelView<float>&, const ActivationView<float>&, std::int64_t, const PackedSequences&);
template void attend_packed(const ModelView<Bf16>&, const ActivationView<Bf16>&, std::int64_t, const PackedSequences&);
template class CachedAttention<float>;
template class CachedAttention<Bf16>;

}  // namespace troupe
