#pragma once

#include <string>

#include <zmq.hpp>

#include "common/base/clock.h"

namespace troupe {

/// Waits until the socket can be read (ZMQ_POLLIN) or written (ZMQ_POLLOUT); false where the deadline passed.
/// @throws TransportError.
bool wait_for(zmq::socket_t& socket, short events, Deadline deadline);

/// A message that owns the string's bytes, without a copy.
zmq::message_t message_of(std::string frame);

}  // namespace troupe
