#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/collective/communicator.h"

namespace troupe {

enum class CollectiveOperation : std::uint64_t {
  kNone = 0,
  kAllReduce = 1,
  kReduceScatter = 2,
  kAllGather = 3,
  kBroadcast = 4,
  kBarrier = 5,
  kClose = 6,
};
/// "all_reduce_sum", …; "?" for a number that no rank sends.
std::string_view name_of(CollectiveOperation operation);

/// Travels in front of every piece, so that ranks that disagree about what they do are told so instead of adding up
/// garbage.
struct PieceHeader {
  std::uint64_t sequence = 0;
  CollectiveOperation operation = CollectiveOperation::kNone;
  std::uint64_t bytes = 0;   // of the whole operation on this rank
  std::uint64_t offset = 0;  // of the piece within a slice
  bool operator==(const PieceHeader&) const = default;
};

/// The verbs of Communicator in terms of one: exchange pieces with peers. The sums are taken here, in rank order,
/// whatever moves the bytes; that is why every derived class gives the same bits. Large operations go in pieces, so
/// that the scratch memory of a sum stays small and no size passes an int.
class RankOrderCommunicator : public Communicator {
 public:
  int rank() const final { return rank_; }
  int size() const final { return size_; }
  void all_reduce_sum(std::span<float> data, std::string_view tensor) final;
  void all_reduce_sum(std::span<double> data, std::string_view tensor) final;
  void reduce_scatter_sum(std::span<const float> in, std::span<float> out, std::string_view tensor) final;
  void all_gather(std::span<const std::byte> in, std::span<std::byte> out, std::string_view tensor) final;
  void broadcast(std::span<std::byte> data, int root, std::string_view tensor) final;
  void barrier() final;
  void close() final;
  CollectiveProgress progress() const final;
  std::unique_ptr<Communicator> split(int color) final;
  void wait_with(const Patience* patience) override { patience_ = patience != nullptr ? patience : &deadline_; }
  double deadline_s() const final { return deadline_.left_s(0, 0); }

 protected:
  struct Outgoing {
    int peer;
    std::span<const std::byte> bytes;
  };
  struct Incoming {
    int peer;
    std::span<std::byte> bytes;
  };

  RankOrderCommunicator(int rank, int size, double deadline_s);

  /// Sends `header` and bytes to each of `out` and receives the same from each of `in`; returns when all of it is done
  /// and the buffers are free. Calls check_header on what arrives, and require_patience while nothing does.
  virtual void exchange(const PieceHeader& header, std::span<const Outgoing> out, std::span<const Incoming> in) = 0;
  /// The same for a group of these ranks, whose numbers here `out` and `in` have; errors say what the group does.
  void exchange_for(const RankOrderCommunicator& group, const PieceHeader& header, std::span<const Outgoing> out,
                    std::span<const Incoming> in);
  /// After the last barrier: lets the transport go.
  virtual void release() {}

  /// @throws DeviceError naming both ranks and what each is doing, unless the headers agree.
  void check_header(const PieceHeader& mine, int peer, const PieceHeader& theirs) const;
  /// Where an exchange has waited `waited_s` for these peers: the seconds until it must ask again, at most 1.
  /// @throws DeviceError naming those for whom the patience has run out.
  double require_patience(const std::vector<int>& behind, double waited_s) const;
  /// @throws DeviceError: nothing came from these peers, for this reason.
  [[noreturn]] void fail_behind(const std::vector<int>& peers, const std::string& reason) const;
  [[noreturn]] void fail(const std::string& what) const;

 private:
  friend class GroupCommunicator;
  struct Running;
  Running begin(CollectiveOperation operation, std::size_t bytes, std::string_view tensor);
  template <class T>
  void all_reduce(std::span<T> data, std::string_view tensor);
  template <class T>
  void reduce_slices(const Running& running, std::span<const T> in, std::size_t slice, std::span<T> out);
  void gather_slices(const Running& running, std::span<std::byte> out, std::size_t slice);
  void meet(CollectiveOperation operation);
  std::vector<int> peers() const;

  const int rank_;
  const int size_;
  const FixedPatience deadline_;
  const Patience* patience_ = &deadline_;
  std::string_view tensor_;  // of the running operation; valid while it runs
  std::atomic<std::uint64_t> sequence_{0};
  std::atomic<CollectiveOperation> operation_{CollectiveOperation::kNone};
  const RankOrderCommunicator* speaker_ = this;  // whose operation an exchange is of: this one's or a group's
  std::atomic<std::uint64_t> exchanges_of_groups_{0};
  bool broken_ = false;  // an operation failed, or close() was called
  std::vector<std::byte> scratch_;
};

}  // namespace troupe
