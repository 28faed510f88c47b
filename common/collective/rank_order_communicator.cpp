#include "common/collective/rank_order_communicator.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "common/base/error.h"
#include "common/base/fault.h"
#include "common/collective/group_communicator.h"

namespace troupe {
namespace {

constexpr std::size_t kDirectBytes = 64 * 1024;             // up to here one round beats two
constexpr std::size_t kReducePieceBytes = 4 * 1024 * 1024;  // of a slice; (size - 1) of them are held at once
constexpr std::size_t kCopyPieceBytes = 256 * 1024 * 1024;  // well inside MPI's int counts

/// out[i] := parts[0][i] + parts[1][i] + …, in this order; `out` may be one of the parts.
template <class T>
void add_in_rank_order(const std::vector<const T*>& parts, std::span<T> out) {
  constexpr std::size_t kBlock = 1024;
  std::array<T, kBlock> sums;
  for (std::size_t start = 0; start < out.size(); start += kBlock) {
    const std::size_t n = std::min(kBlock, out.size() - start);
    std::copy_n(parts[0] + start, n, sums.begin());
    for (std::size_t r = 1; r < parts.size(); ++r) {
      const T* part = parts[r] + start;
      for (std::size_t i = 0; i < n; ++i) sums[i] += part[i];
    }
    std::copy_n(sums.begin(), n, out.begin() + static_cast<std::ptrdiff_t>(start));
  }
}

/// The part of slice `number` of `data` that starts at `offset` and is at most `length` long. The last slices may be
/// short or empty.
template <class T>
std::span<T> piece_of(std::span<T> data, std::size_t slice, int number, std::size_t offset, std::size_t length) {
  const std::size_t slice_end = std::min(data.size(), slice * (static_cast<std::size_t>(number) + 1));
  const std::size_t begin = std::min(slice_end, slice * static_cast<std::size_t>(number) + offset);
  return data.subspan(begin, std::min(length, slice_end - begin));
}

std::string with_commas(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) text += (i ? ", " : "") + std::to_string(ranks[i]);
  return text;
}

}  // namespace

std::string_view name_of(CollectiveOperation operation) {
  switch (operation) {
    case CollectiveOperation::kNone:
      return "nothing";
    case CollectiveOperation::kAllReduce:
      return "all_reduce_sum";
    case CollectiveOperation::kReduceScatter:
      return "reduce_scatter_sum";
    case CollectiveOperation::kAllGather:
      return "all_gather";
    case CollectiveOperation::kBroadcast:
      return "broadcast";
    case CollectiveOperation::kBarrier:
      return "barrier";
    case CollectiveOperation::kClose:
      return "close";
  }
  return "?";
}

/// One operation from its begin to its end. The communicator counts as broken while it runs, so that an operation that
/// threw leaves it so.
struct RankOrderCommunicator::Running {
  RankOrderCommunicator& owner;
  PieceHeader header;

  PieceHeader at(std::size_t offset) const {
    PieceHeader piece = header;
    piece.offset = offset;
    return piece;
  }
  void end() const {
    owner.broken_ = false;
    fault::point("collective.end");
  }
};

RankOrderCommunicator::RankOrderCommunicator(int rank, int size, double deadline_s)
    : rank_(rank), size_(size), deadline_(deadline_s) {
  check(size >= 1 && rank >= 0 && rank < size, "rank " + std::to_string(rank) + " of " + std::to_string(size));
  check(deadline_s > 0, "a collective's deadline must be positive");
}

RankOrderCommunicator::Running RankOrderCommunicator::begin(CollectiveOperation operation, std::size_t bytes,
                                                            std::string_view tensor) {
  fault::point("collective.begin");
  speaker_ = this;
  tensor_ = tensor;
  operation_.store(operation);
  const std::uint64_t sequence = sequence_.fetch_add(1) + 1;
  if (broken_) fail("the communicator was closed, or failed before");
  broken_ = true;
  return {*this, {sequence, operation, bytes, 0}};
}

std::vector<int> RankOrderCommunicator::peers() const {
  std::vector<int> others;
  for (int r = 0; r < size_; ++r) {
    if (r != rank_) others.push_back(r);
  }
  return others;
}

template <class T>
void RankOrderCommunicator::reduce_slices(const Running& running, std::span<const T> in, std::size_t slice,
                                          std::span<T> out) {
  const std::size_t piece = std::min(slice, kReducePieceBytes / sizeof(T));
  scratch_.resize(std::max(scratch_.size(), piece * sizeof(T) * static_cast<std::size_t>(size_ - 1)));
  for (std::size_t offset = 0; offset < slice; offset += piece) {
    const std::span<const T> own = piece_of(in, slice, rank_, offset, piece);
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    std::vector<const T*> parts(static_cast<std::size_t>(size_), own.data());
    std::byte* free = scratch_.data();
    for (const int peer : peers()) {
      outgoing.push_back({peer, std::as_bytes(piece_of(in, slice, peer, offset, piece))});
      incoming.push_back({peer, {free, own.size_bytes()}});
      parts[static_cast<std::size_t>(peer)] = reinterpret_cast<const T*>(free);
      free += own.size_bytes();
    }
    exchange(running.at(offset), outgoing, incoming);
    add_in_rank_order(parts, out.subspan(std::min(offset, out.size()), own.size()));
  }
}

void RankOrderCommunicator::gather_slices(const Running& running, std::span<std::byte> out, std::size_t slice) {
  const std::size_t piece = std::min(slice, kCopyPieceBytes);
  for (std::size_t offset = 0; offset < slice; offset += piece) {
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    for (const int peer : peers()) {
      outgoing.push_back({peer, piece_of(std::span<const std::byte>(out), slice, rank_, offset, piece)});
      incoming.push_back({peer, piece_of(out, slice, peer, offset, piece)});
    }
    exchange(running.at(offset), outgoing, incoming);
  }
}

template <class T>
void RankOrderCommunicator::all_reduce(std::span<T> data, std::string_view tensor) {
  const CountedWait wait(*this);
  const Running running = begin(CollectiveOperation::kAllReduce, data.size_bytes(), tensor);
  const auto ranks = static_cast<std::size_t>(size_);
  if (size_ > 1 && data.size_bytes() <= kDirectBytes) {
    scratch_.resize(std::max(scratch_.size(), data.size_bytes() * (ranks - 1)));
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    std::vector<const T*> parts(ranks, data.data());
    std::byte* free = scratch_.data();
    for (const int peer : peers()) {
      outgoing.push_back({peer, std::as_bytes(data)});
      incoming.push_back({peer, {free, data.size_bytes()}});
      parts[static_cast<std::size_t>(peer)] = reinterpret_cast<const T*>(free);
      free += data.size_bytes();
    }
    exchange(running.header, outgoing, incoming);
    add_in_rank_order(parts, data);
  } else if (size_ > 1) {
    const std::size_t slice = (data.size() + ranks - 1) / ranks;
    reduce_slices<T>(running, data, slice, piece_of(data, slice, rank_, 0, slice));
    gather_slices(running, std::as_writable_bytes(data), slice * sizeof(T));
  }
  running.end();
}

void RankOrderCommunicator::all_reduce_sum(std::span<float> data, std::string_view tensor) { all_reduce(data, tensor); }
void RankOrderCommunicator::all_reduce_sum(std::span<double> data, std::string_view tensor) {
  all_reduce(data, tensor);
}

void RankOrderCommunicator::reduce_scatter_sum(std::span<const float> in, std::span<float> out,
                                               std::string_view tensor) {
  const CountedWait wait(*this);
  const Running running = begin(CollectiveOperation::kReduceScatter, in.size_bytes(), tensor);
  check(in.size() == out.size() * static_cast<std::size_t>(size_), "reduce_scatter_sum: in is not size() times out");
  if (size_ == 1) {
    std::copy(in.begin(), in.end(), out.begin());
  } else {
    reduce_slices<float>(running, in, out.size(), out);
  }
  running.end();
}

void RankOrderCommunicator::all_gather(std::span<const std::byte> in, std::span<std::byte> out,
                                       std::string_view tensor) {
  const CountedWait wait(*this);
  const Running running = begin(CollectiveOperation::kAllGather, out.size(), tensor);
  check(out.size() == in.size() * static_cast<std::size_t>(size_), "all_gather: out is not size() times in");
  const std::span<std::byte> own = out.subspan(in.size() * static_cast<std::size_t>(rank_), in.size());
  if (!in.empty() && own.data() != in.data()) std::memmove(own.data(), in.data(), in.size());
  if (size_ > 1) gather_slices(running, out, in.size());
  running.end();
}

void RankOrderCommunicator::broadcast(std::span<std::byte> data, int root, std::string_view tensor) {
  const CountedWait wait(*this);
  const Running running = begin(CollectiveOperation::kBroadcast, data.size(), tensor);
  check(root >= 0 && root < size_,
        "broadcast: root " + std::to_string(root) + " of " + std::to_string(size_) + " ranks");
  for (std::size_t offset = 0; size_ > 1 && offset < data.size(); offset += kCopyPieceBytes) {
    const std::span<std::byte> piece = data.subspan(offset, std::min(kCopyPieceBytes, data.size() - offset));
    std::vector<Outgoing> outgoing;
    std::vector<Incoming> incoming;
    if (rank_ == root) {
      for (const int peer : peers()) outgoing.push_back({peer, piece});
    } else {
      incoming.push_back({root, piece});
    }
    exchange(running.at(offset), outgoing, incoming);
  }
  running.end();
}

void RankOrderCommunicator::meet(CollectiveOperation operation) {
  const CountedWait wait(*this);
  const Running running = begin(operation, 0, "");
  std::vector<Outgoing> outgoing;
  std::vector<Incoming> incoming;
  for (const int peer : peers()) {
    outgoing.push_back({peer, {}});
    incoming.push_back({peer, {}});
  }
  if (size_ > 1) exchange(running.header, outgoing, incoming);
  running.end();
}

void RankOrderCommunicator::barrier() { meet(CollectiveOperation::kBarrier); }

void RankOrderCommunicator::close() {
  meet(CollectiveOperation::kClose);
  broken_ = true;
  release();
}

CollectiveProgress RankOrderCommunicator::progress() const {
  return {sequence_.load() + exchanges_of_groups_.load(), name_of(operation_.load())};
}

std::unique_ptr<Communicator> RankOrderCommunicator::split(int color) {
  std::vector<int> colors(static_cast<std::size_t>(size_));
  all_gather(std::as_bytes(std::span(&color, 1)), std::as_writable_bytes(std::span(colors)), "colors of a split");
  std::vector<int> members;
  for (int r = 0; r < size_; ++r) {
    if (colors[static_cast<std::size_t>(r)] == color) members.push_back(r);
  }
  return std::make_unique<GroupCommunicator>(*this, members);
}

void RankOrderCommunicator::exchange_for(const RankOrderCommunicator& group, const PieceHeader& header, std::span<const Outgoing> out,
                                         std::span<const Incoming> in) {
  exchanges_of_groups_.fetch_add(1);
  speaker_ = &group;
  exchange(header, out, in);
}

void RankOrderCommunicator::fail(const std::string& what) const {
  std::string where = "learner rank " + std::to_string(rank_) + " of " + std::to_string(size_);
  if (const std::string self = patience_->last_seen(rank_); !self.empty()) where += " (" + self + ")";
  where += ": " + std::string(name_of(speaker_->operation_.load()));
  if (!speaker_->tensor_.empty()) where += " of " + std::string(speaker_->tensor_);
  throw DeviceError(where + ", sequence " + std::to_string(speaker_->sequence_.load()) + ": " + what);
}

double RankOrderCommunicator::require_patience(const std::vector<int>& behind, double waited_s) const {
  std::vector<int> given_up;
  double next_s = 1;
  for (const int peer : behind) {
    const double left_s = patience_->left_s(peer, waited_s);
    if (left_s <= 0) given_up.push_back(peer);
    next_s = std::min(next_s, left_s);
  }
  if (given_up.empty()) return next_s;
  char seconds[32];
  std::snprintf(seconds, sizeof seconds, "within %.1f s", std::floor(10 * waited_s) / 10);
  fail_behind(given_up, seconds);
}

void RankOrderCommunicator::fail_behind(const std::vector<int>& behind, const std::string& reason) const {
  std::string what = "nothing from " + with_commas(behind) + " " + reason;
  for (const int peer : behind) {
    if (const std::string seen = patience_->last_seen(peer); !seen.empty()) what += "; rank " + std::to_string(peer) + ": " + seen;
  }
  fail(what);
}

void RankOrderCommunicator::check_header(const PieceHeader& mine, int peer, const PieceHeader& theirs) const {
  if (mine == theirs) return;
  fail("rank " + std::to_string(peer) + " does something else: sequence " + std::to_string(theirs.sequence) + ", " +
       std::string(name_of(theirs.operation)) + " of " + std::to_string(theirs.bytes) + " bytes (offset " +
       std::to_string(theirs.offset) + "); here it is sequence " + std::to_string(mine.sequence) + " of " +
       std::to_string(mine.bytes) + " bytes (offset " + std::to_string(mine.offset) + ")");
}

}  // namespace troupe
