#pragma once

#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/model/broadcast_group.h"

namespace troupe::testing {

/// Groups in one process: what rank 0 broadcasts the others get, in the host's memory. Any thread.
class FakeBroadcasts {
 public:
  std::unique_ptr<BroadcastGroup> join(const BroadcastPlace& place) {
    const std::lock_guard lock(mutex_);
    places_.push_back(place);
    if (refuse_joins) throw DeviceError("a rank is missing after 1 s");
    return std::make_unique<Member>(*this, place);
  }
  std::vector<BroadcastPlace> places() const {
    const std::lock_guard lock(mutex_);
    return places_;
  }

  bool refuse_joins = false;  // set before a join
  bool dead_member = false;   // set before a broadcast: all members come to their deadline
  bool corrupt = false;       // likewise: a bit is flipped on the way

 private:
  class Member final : public BroadcastGroup {
   public:
    Member(FakeBroadcasts& all, const BroadcastPlace& place) : all_(all), place_(place) {}
    void broadcast(const at::Tensor& flat) override {
      std::unique_lock lock(all_.mutex_);
      if (all_.dead_member) throw DeviceError("not done after 1 s: a rank is behind");
      std::string& bytes = all_.sent_[{place_.id, ++count_}];
      if (place_.rank == 0) {
        bytes.assign(static_cast<const char*>(flat.const_data_ptr()), flat.nbytes());
        if (all_.corrupt) bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
        all_.changed_.notify_all();
        return;
      }
      const bool came = all_.changed_.wait_for(lock, std::chrono::seconds(30), [&] { return !bytes.empty(); });
      check(came && bytes.size() == flat.nbytes(), "rank 0 broadcasts as much as is expected");
      std::memcpy(flat.mutable_data_ptr(), bytes.data(), bytes.size());
    }

   private:
    FakeBroadcasts& all_;
    BroadcastPlace place_;
    int count_ = 0;
  };

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<BroadcastPlace> places_;
  std::map<std::pair<std::string, int>, std::string> sent_;  // by group, and which of its broadcasts
};

}  // namespace troupe::testing
