#include "common/collective/mpi_communicator.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/fault.h"

namespace troupe {
namespace {

constexpr int kTag = 1;  // MPI keeps the order between two ranks, so headers and payloads pair up without more
constexpr auto kSpin = std::chrono::microseconds(50);
constexpr auto kShortestSleep = std::chrono::microseconds(20);
constexpr auto kLongestSleep = std::chrono::microseconds(500);
constexpr std::int64_t kFirstCheckMs = 50;  // of the peers' progress, while nothing comes
constexpr auto kDrain = std::chrono::milliseconds(20);

/// Waits between polls: not at all at first, then longer and longer.
class BackOff {
 public:
  void wait() {
    if (std::chrono::steady_clock::now() - started_ < kSpin) return;
    std::this_thread::sleep_for(sleep_);
    sleep_ = std::min(2 * sleep_, kLongestSleep);
  }

 private:
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
  std::chrono::microseconds sleep_ = kShortestSleep;
};

std::string mpi_text(int code) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, text, &length);
  return std::string(text, static_cast<std::size_t>(length));
}

MPI_Comm create_group(const std::vector<int>& world_ranks) {
  MPI_Group world = MPI_GROUP_NULL;
  MPI_Group group = MPI_GROUP_NULL;
  MPI_Comm communicator = MPI_COMM_NULL;
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_group(MPI_COMM_WORLD, &world);
  MPI_Group_incl(world, static_cast<int>(world_ranks.size()), world_ranks.data(), &group);
  const int code = MPI_Comm_create_group(MPI_COMM_WORLD, group, kTag, &communicator);
  MPI_Group_free(&group);
  MPI_Group_free(&world);
  if (code != MPI_SUCCESS || communicator == MPI_COMM_NULL) {
    throw DeviceError("MPI_Comm_create_group over " + std::to_string(world_ranks.size()) +
                      " learners from world rank " + std::to_string(world_ranks.front()) + ": " + mpi_text(code));
  }
  MPI_Comm_set_errhandler(communicator, MPI_ERRORS_RETURN);
  return communicator;
}

int place_of_this_rank(const std::vector<int>& world_ranks) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const auto found = std::find(world_ranks.begin(), world_ranks.end(), rank);
  check(found != world_ranks.end(), "this rank is not among the learners");
  return static_cast<int>(found - world_ranks.begin());
}

}  // namespace

/// The messages of one exchange. What fails or is abandoned leaves no receive behind that could write into a buffer
/// that is gone; sends are left to MPI, for after an error the process is finished.
struct MpiCommunicator::Transfers {
  enum class Kind { kSend, kReceiveHeader, kReceive };
  struct Transfer {
    Kind kind;
    int peer;
    std::size_t number = 0;  // of the peer in `theirs`
    std::size_t bytes = 0;
  };

  explicit Transfers(std::size_t peers, std::size_t messages) : theirs(peers) {
    requests.reserve(messages);  // MPI keeps addresses: nothing here may move
    all.reserve(messages);
  }
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;
  ~Transfers() {
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (requests[i] == MPI_REQUEST_NULL || all[i].kind == Kind::kSend) continue;
      MPI_Cancel(&requests[i]);
      MPI_Request_free(&requests[i]);
    }
  }

  std::vector<int> peers_of_open() const {
    std::vector<int> peers;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (requests[i] != MPI_REQUEST_NULL) peers.push_back(all[i].peer);
    }
    std::sort(peers.begin(), peers.end());
    peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
    return peers;
  }

  std::vector<PieceHeader> theirs;
  std::vector<Transfer> all;
  std::vector<MPI_Request> requests;  // of `all`, by index
};

MpiCommunicator::MpiCommunicator(const std::vector<int>& world_ranks, double deadline_s)
    : RankOrderCommunicator(place_of_this_rank(world_ranks), static_cast<int>(world_ranks.size()), deadline_s),
      communicator_(create_group(world_ranks)) {}

void MpiCommunicator::demand(int mpi_code, const char* call) const {
  if (mpi_code != MPI_SUCCESS) fail(std::string(call) + ": " + mpi_text(mpi_code));
}

void MpiCommunicator::start(Transfers& transfers, const PieceHeader& header, std::span<const Outgoing> out,
                            std::span<const Incoming> in) const {
  using Kind = Transfers::Kind;
  const auto send = [&](int peer, const void* bytes, std::size_t n) {
    transfers.all.push_back({Kind::kSend, peer, 0, n});
    demand(MPI_Isend(bytes, static_cast<int>(n), MPI_BYTE, peer, kTag, communicator_,
                     &transfers.requests.emplace_back(MPI_REQUEST_NULL)),
           "MPI_Isend");
  };
  const auto receive = [&](const Transfers::Transfer& transfer, void* bytes) {
    transfers.all.push_back(transfer);
    demand(MPI_Irecv(bytes, static_cast<int>(transfer.bytes), MPI_BYTE, transfer.peer, kTag, communicator_,
                     &transfers.requests.emplace_back(MPI_REQUEST_NULL)),
           "MPI_Irecv");
  };
  for (std::size_t i = 0; i < in.size(); ++i) {
    receive({Kind::kReceiveHeader, in[i].peer, i, sizeof(PieceHeader)}, &transfers.theirs[i]);
    if (!in[i].bytes.empty()) receive({Kind::kReceive, in[i].peer, i, in[i].bytes.size()}, in[i].bytes.data());
  }
  for (const Outgoing& outgoing : out) {
    send(outgoing.peer, &header, sizeof header);
    if (!outgoing.bytes.empty()) send(outgoing.peer, outgoing.bytes.data(), outgoing.bytes.size());
  }
}

std::size_t MpiCommunicator::advance(Transfers& transfers, const PieceHeader& header) const {
  const std::size_t messages = transfers.requests.size();
  std::vector<int> done(messages);
  std::vector<MPI_Status> statuses(messages);
  int count = 0;
  const int code =
      MPI_Testsome(static_cast<int>(messages), transfers.requests.data(), &count, done.data(), statuses.data());
  if (code != MPI_ERR_IN_STATUS) demand(code, "MPI_Testsome");
  const auto ended = static_cast<std::size_t>(std::max(count, 0));
  // Headers first: a payload that is not the expected one is explained by its header.
  for (std::size_t i = 0; i < ended; ++i) {
    const auto& transfer = transfers.all[static_cast<std::size_t>(done[i])];
    if (transfer.kind == Transfers::Kind::kReceiveHeader) {
      check_header(header, transfer.peer, transfers.theirs[transfer.number]);
    }
  }
  for (std::size_t i = 0; i < ended; ++i) {
    const auto& transfer = transfers.all[static_cast<std::size_t>(done[i])];
    if (code == MPI_ERR_IN_STATUS)
      demand(statuses[i].MPI_ERROR, ("message of rank " + std::to_string(transfer.peer)).c_str());
    if (transfer.kind == Transfers::Kind::kSend) continue;
    int bytes = 0;
    MPI_Get_count(&statuses[i], MPI_BYTE, &bytes);
    check(static_cast<std::size_t>(bytes) == transfer.bytes, "ranks cut an operation into different pieces");
  }
  return ended;
}

void MpiCommunicator::finish(Transfers& transfers, const PieceHeader& header) const {
  BackOff back_off;
  const std::int64_t start_ms = SteadyClock().now_ms();
  std::int64_t next_check_ms = start_ms + kFirstCheckMs;
  for (std::size_t open = transfers.requests.size(); open > 0;) {
    const std::size_t ended = advance(transfers, header);
    open -= ended;
    if (ended > 0) {
      back_off = BackOff();
      continue;
    }
    if (const std::int64_t now_ms = SteadyClock().now_ms(); now_ms >= next_check_ms) {
      const double next_s = require_patience(transfers.peers_of_open(), static_cast<double>(now_ms - start_ms) / 1000);
      next_check_ms = now_ms + static_cast<std::int64_t>(next_s * 1000) + 1;
    }
    back_off.wait();
  }
}

void MpiCommunicator::exchange(const PieceHeader& header, std::span<const Outgoing> out, std::span<const Incoming> in) {
  Transfers transfers(in.size(), 2 * (out.size() + in.size()));
  start(transfers, header, out, in);
  fault::point("collective.inside");
  finish(transfers, header);
}

void MpiCommunicator::release() {
  // A small message can be complete here while MPI still holds it back; a rank that leaves by _exit would take it
  // along.
  const Deadline drained = Deadline::after_ms(kDrain.count());
  while (!drained.expired()) {
    int flag = 0;
    MPI_Iprobe(MPI_ANY_SOURCE, kTag, communicator_, &flag, MPI_STATUS_IGNORE);  // turns MPI's crank
    std::this_thread::sleep_for(kLongestSleep);
  }
  MPI_Comm_free(&communicator_);
}

}  // namespace troupe
