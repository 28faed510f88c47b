#include "common/collective/communicator.h"

#include <utility>

namespace troupe {

std::shared_future<void> Communicator::start(std::function<void()> work) {
  std::packaged_task<void()> task(std::move(work));
  task();
  return task.get_future().share();
}

}  // namespace troupe
