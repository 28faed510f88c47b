#include "common/model/kernels/simd/attention_inner.h"
#include "common/model/kernels/simd/table.h"

// With P = softmax(scale Q K^T) and O = P V:  dV = P^T dO,  dS = P (dO V^T - rowsum(dO O)),  dQ = scale dS K,
// dK = scale dS^T Q.  P is computed again from the saved log-sum-exp.

namespace troupe::TROUPE_ISA {

/// Keys and values of a sequence in fp32: as rows, and as blocks of 16 columns.
struct Operands {
  float *keys, *key_blocks, *value_blocks, *grad_keys, *grad_values;
};

/// to[p] += sum_r weights[r][p] * rows[r] for the positions before limits[r], which do not decrease with r.
static void add_outer(std::int64_t count, const float* weights, std::int64_t weight_stride, const std::int64_t* limits,
                      const float* rows, std::int64_t head_size, float* to) {
  std::int64_t from = 0;
  for (std::int64_t r = 0; r < count; ++r) {  // positions that rows r and later see
    for (std::int64_t position = from; position < limits[r]; ++position) {
      for (std::int64_t c = 0; c < head_size; c += 16) {
        V16 sum = load_upto(to + position * head_size + c, head_size - c);
        for (std::int64_t s = r; s < count; ++s) {
          sum = fma(all(weights[s * weight_stride + position]), load_upto(rows + s * head_size + c, head_size - c), sum);
        }
        store_upto(to + position * head_size + c, sum, head_size - c);
      }
    }
    from = limits[r];
  }
}

/// Replaces scores by the probabilities P and products (dO V^T) by dS * scale.
static void score_gradients(float* scores, float* products, std::int64_t limit, float lse, float delta, float scale) {
  for (std::int64_t j = 0; j < limit; j += 16) {
    const V16 p = exp(load(scores + j) - lse);
    store(scores + j, p);
    store(products + j, p * (load(products + j) - delta) * scale);
  }
}

template <typename T>
static void read_row(const T* from, std::int64_t size, float factor, float* to) {
  for (std::int64_t c = 0; c < size; c += 16) store_upto(to + c, load_upto(from + c, size - c) * factor, size - c);
}

template <typename T>
static void write_row(const float* from, std::int64_t size, T* to) {
  for (std::int64_t c = 0; c < size; c += 16) store_upto(to + c, load_upto(from + c, size - c), size - c);
}

static float dot(const float* a, const float* b, std::int64_t size) {
  V16 sum{};
  for (std::int64_t c = 0; c < size; c += 16) sum = fma(load_upto(a + c, size - c), load_upto(b + c, size - c), sum);
  return sum_lanes(sum);
}

/// Rows of the run, and what comes before them: the position of the first, 0 or that behind the sequence.
struct Part {
  RowRange rows;
  std::int64_t first_position;
};

/// The query rows first … first + count of the part.
template <typename T>
static void query_rows(const AttentionGradient<T>& run, const Part& part, std::int64_t first, std::int64_t count, const Operands& to,
                       std::int64_t stride, float* scratch) {
  const std::int64_t d = run.head_size, row_floats = kQueryRows * (d + 16);
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  float *queries = scratch, *scaled = queries + row_floats, *grads = scaled + row_floats, *outputs = grads + row_floats;
  float *scores = outputs + row_floats, *products = scores + kQueryRows * stride;
  std::int64_t limits[kQueryRows];
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t token = part.rows.first + (first + r) / run.group, head = (first + r) % run.group;
    limits[r] = part.first_position + (first + r) / run.group + 1;
    read_row(run.queries + token * run.qkv_stride + head * d, d, 1.0f, queries + r * d);
    read_row(run.queries + token * run.qkv_stride + head * d, d, scale, scaled + r * d);
    read_row(run.grad_outputs + token * run.output_stride + head * d, d, 1.0f, grads + r * d);
    read_row(run.outputs + token * run.output_stride + head * d, d, 1.0f, outputs + r * d);
  }
  const std::int64_t blocks = blocks_of(limits[count - 1]);
  score<float>(count, scaled, d, to.key_blocks, blocks, nullptr, scores, stride);
  score<float>(count, grads, d, to.value_blocks, blocks, nullptr, products, stride);
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t token = part.rows.first + (first + r) / run.group, head = (first + r) % run.group;
    score_gradients(scores + r * stride, products + r * stride, limits[r], run.lse[token * run.lse_stride + head],
                    dot(grads + r * d, outputs + r * d, d), scale);
  }
  add_outer(count, scores, stride, limits, grads, d, to.grad_values);
  add_outer(count, products, stride, limits, queries, d, to.grad_keys);
  weighted_sum<float>(count, products, stride, limits, to.keys, d, d, nullptr, false, outputs);
  for (std::int64_t r = 0; r < count; ++r) {
    const std::int64_t token = part.rows.first + (first + r) / run.group, head = (first + r) % run.group;
    write_row(outputs + r * d, d, run.grad_queries + token * run.qkv_stride + head * d);
  }
}

/// Makes the part's keys and values be at its positions, with gradients of 0. `row` is room for one.
template <typename T>
static void read_part(const AttentionGradient<T>& run, const Part& part, const Operands& to, float* row) {
  const std::int64_t d = run.head_size;
  for (std::int64_t i = 0; i < part.rows.count; ++i) {
    const std::int64_t token = part.rows.first + i, position = part.first_position + i;
    float* key = to.keys + position * d;
    read_row(run.keys + token * run.qkv_stride, d, 1.0f, key);
    read_row(run.values + token * run.qkv_stride, d, 1.0f, row);
    const std::int64_t block = position / kKeyBlock * d * kKeyBlock + position % kKeyBlock;
    for (std::int64_t c = 0; c < d; ++c) {
      to.key_blocks[block + c * kKeyBlock] = key[c];
      to.value_blocks[block + c * kKeyBlock] = row[c];
    }
  }
  const auto bytes = sizeof(float) * static_cast<std::size_t>(part.rows.count * d);
  std::memset(to.grad_keys + part.first_position * d, 0, bytes);
  std::memset(to.grad_values + part.first_position * d, 0, bytes);
}

template <typename T>
static void write_part(const AttentionGradient<T>& run, const Part& part, const Operands& from) {
  const std::int64_t d = run.head_size;
  for (std::int64_t i = 0; i < part.rows.count; ++i) {
    const std::int64_t token = part.rows.first + i, position = part.first_position + i;
    write_row(from.grad_keys + position * d, d, run.grad_keys + token * run.qkv_stride);
    write_row(from.grad_values + position * d, d, run.grad_values + token * run.qkv_stride);
  }
}

template <typename T>
void attend_backward(const AttentionGradient<T>& run, float* scratch) {
  std::int64_t longest = 0;
  for (std::int64_t c = 0; c < run.continuation_count; ++c) {
    if (run.continuations[c].count > longest) longest = run.continuations[c].count;
  }
  const std::int64_t stride = blocks_of(run.tokens + longest) * kKeyBlock, matrix = stride * run.head_size;
  const Operands to{scratch, scratch + matrix, scratch + 2 * matrix, scratch + 3 * matrix, scratch + 4 * matrix};
  float* rest = scratch + 5 * matrix;
  std::memset(to.key_blocks, 0, sizeof(float) * static_cast<std::size_t>(2 * matrix));
  const Part sequence{{0, run.tokens}, 0};
  const auto add = [&](const Part& part) {
    read_part(run, part, to, rest);
    const std::int64_t rows = part.rows.count * run.group;
    for (std::int64_t first = 0; first < rows; first += kQueryRows) {
      query_rows(run, part, first, rows - first < kQueryRows ? rows - first : kQueryRows, to, stride, rest);
    }
  };
  add(sequence);
  for (std::int64_t c = 0; c < run.continuation_count; ++c) {
    const Part part{run.continuations[c], run.tokens};
    add(part);
    write_part(run, part, to);
  }
  write_part(run, sequence, to);
}

template <typename T>
void fill_attention_backward(Kernels<T>& table) {
  table.attend_backward = attend_backward<T>;
}
template void fill_attention_backward(Kernels<float>&);
template void fill_attention_backward(Kernels<Bf16>&);

}  // namespace troupe::TROUPE_ISA
