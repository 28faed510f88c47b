#include "common/base/bounded_queue.h"

#include <memory>
#include <thread>

#include <doctest/doctest.h>

using namespace troupe;

TEST_SUITE("base/bounded_queue") {
  TEST_CASE("items come out in order, and a full queue refuses at the deadline without touching the item") {
    BoundedQueue<std::unique_ptr<int>> queue(2);
    auto one = std::make_unique<int>(1);
    auto two = std::make_unique<int>(2);
    auto three = std::make_unique<int>(3);

    CHECK(queue.push(one, Deadline::after_ms(0)));
    CHECK(queue.push(two, Deadline::after_ms(0)));
    CHECK_FALSE(queue.push(three, Deadline::after_ms(5)));

    REQUIRE(three);
    CHECK(*three == 3);
    CHECK(queue.size() == 2);
    CHECK(**queue.pop(Deadline::after_ms(0)) == 1);
    CHECK(**queue.pop(Deadline::after_ms(0)) == 2);
    CHECK_FALSE(queue.pop(Deadline::after_ms(5)).has_value());
  }

  TEST_CASE("a closed queue drains and refuses") {
    BoundedQueue<int> queue(2);
    int item = 7;
    queue.push(item, Deadline::after_ms(0));

    queue.close();

    CHECK(queue.closed());
    CHECK_FALSE(queue.push(item, Deadline::after_ms(1000)));
    CHECK(queue.pop(Deadline::after_ms(1000)) == 7);
    CHECK_FALSE(queue.pop(Deadline::after_s(60)).has_value());  // at once, not at the deadline
  }

  TEST_CASE("a waiting reader and a waiting writer are woken") {
    BoundedQueue<int> queue(1);
    std::thread writer([&] {
      for (int i = 0; i < 100; ++i) {
        int item = i;
        CHECK(queue.push(item, Deadline::after_s(10)));
      }
      queue.close();
    });

    int expected = 0;
    while (const auto item = queue.pop(Deadline::after_s(10))) CHECK(*item == expected++);
    writer.join();

    CHECK(expected == 100);
  }
}
