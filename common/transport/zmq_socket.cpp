#include "common/transport/zmq_socket.h"

#include <cerrno>
#include <memory>
#include <utility>

#include "common/base/error.h"

namespace troupe {

bool wait_for(zmq::socket_t& socket, short events, Deadline deadline) {
  for (;;) {
    zmq_pollitem_t item{socket.handle(), 0, events, 0};
    const auto timeout_ms = static_cast<long>(deadline.remaining_ms());
    const int ready = zmq_poll(&item, 1, timeout_ms);
    if (ready > 0) return true;
    if (ready < 0 && zmq_errno() != EINTR) throw TransportError(std::string("zmq_poll: ") + zmq_strerror(zmq_errno()));
    if (timeout_ms == 0) return false;
  }
}

zmq::message_t message_of(std::string frame) {
  auto owned = std::make_unique<std::string>(std::move(frame));
  zmq::message_t message(
      owned->data(), owned->size(), [](void*, void* hint) { delete static_cast<std::string*>(hint); }, owned.get());
  owned.release();  // now the message's
  return message;
}

}  // namespace troupe
