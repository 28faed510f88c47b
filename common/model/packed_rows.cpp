#include "common/model/packed_rows.h"

#include <algorithm>
#include <vector>

#include <ATen/ATen.h>

#include "common/base/error.h"

namespace troupe {
namespace {

/// What the text reads up to its first used row.
std::span<const std::int32_t> prompt_of(const TextRows& text) { return text.ids.first(static_cast<std::size_t>(text.first) + 1); }

class Packer {
 public:
  /// Appends a sequence; the place of its first row.
  std::int64_t add(std::span<const std::int32_t> ids, std::int64_t prefix) {
    const std::int64_t begin = starts_.back();
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    starts_.push_back(static_cast<std::int64_t>(ids_.size()));
    prefixes_.push_back(prefix);
    return begin;
  }

  void use(std::int64_t row, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) rows_.push_back(row + i);
  }

  void add_alone(const TextRows& text) {
    const std::int64_t begin = add(text.ids, -1);
    use(begin + text.first, std::ssize(text.ids) - text.first);
  }

  void add_sharing(std::span<const TextRows> texts) {
    shared_ = true;
    const std::int64_t prompt = std::ssize(prefixes_), last = add(prompt_of(texts.front()), -1) + texts.front().first;
    for (const TextRows& text : texts) {
      const auto own = text.ids.subspan(static_cast<std::size_t>(text.first) + 1);
      use(last, 1);
      if (!own.empty()) use(add(own, prompt), std::ssize(own));
    }
  }

  PackedRows packed(at::Device device) {
    if (!shared_) prefixes_.clear();
    return {{at::tensor(ids_, at::kLong), starts_, prefixes_}, at::tensor(rows_, at::kLong).to(device), shared_};
  }

 private:
  std::vector<std::int64_t> ids_, starts_ = {0}, prefixes_, rows_;
  bool shared_ = false;
};

}  // namespace

PackedRows pack_rows(std::span<const TextRows> texts, bool share, at::Device device) {
  Packer packer;
  while (!texts.empty()) {
    const TextRows& head = texts.front();
    check(head.first >= 0 && head.first < std::ssize(head.ids), "a packed text has a row that is used");
    const auto differs = [&](const TextRows& text) {
      return text.first != head.first || text.first >= std::ssize(text.ids) || !std::ranges::equal(prompt_of(text), prompt_of(head));
    };
    const auto alike = share ? static_cast<std::size_t>(std::ranges::find_if(texts, differs) - texts.begin()) : 1;
    if (alike == 1) {
      packer.add_alone(head);
    } else {
      packer.add_sharing(texts.first(alike));
    }
    texts = texts.subspan(alike);
  }
  return packer.packed(device);
}

at::Tensor PackedRows::gradient(const at::Tensor& grad_NH) const {
  const at::ScalarType dtype = grad_NH.scalar_type();
  at::Tensor grad_TH = at::zeros({sequences.ids_T.numel(), grad_NH.size(1)}, grad_NH.options().dtype(shared ? at::kFloat : dtype));
  if (!shared) return grad_TH.index_copy_(0, rows_N, grad_NH);
  const at::Tensor grad = grad_NH.to(at::kFloat);
  // Of ATen's two ways one adds in order on the CPU, the other on a GPU.
  if (rows_N.is_cuda()) return grad_TH.index_put_({rows_N}, grad, /*accumulate=*/true).to(dtype);
  return grad_TH.index_add_(0, rows_N, grad).to(dtype);
}

}  // namespace troupe
