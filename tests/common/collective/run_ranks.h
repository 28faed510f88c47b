#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "common/base/error.h"
#include "common/collective/thread_communicator.h"

namespace troupe {

/// Runs `body` as each of `size` ranks, as threads. Each rank's error message, or "" where it ended well.
inline std::vector<std::string> run_ranks(int size, double deadline_s, const std::function<void(Communicator&)>& body) {
  const ThreadWorld world(size, deadline_s);
  std::vector<std::string> errors(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank, communicator = world.communicator(rank)]() mutable {
      try {
        body(*communicator);
      } catch (const std::exception& error) {
        errors[static_cast<std::size_t>(rank)] = error.what();
      }
      communicator.reset();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return errors;
}

}  // namespace troupe
