#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace troupe {

/// The root of every exception that Troupe throws. The derived types say who can act on it; the message says what was
/// expected, what was found, and in which object.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The user can mend it: a key, a file, a row, a model directory, a command line. Ends the command with exit code 2.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// A peer sent something that cannot be accepted. The message is dropped, counted, and the peer named; the process goes on.
class ProtocolError : public Error {
 public:
  using Error::Error;
};

/// A connection or a file could not be used in time: reconnect, retry or stop with exit code 75.
class TransportError : public Error {
 public:
  using Error::Error;
};

/// The device or a collective is unusable: this process is finished.
class DeviceError : public Error {
 public:
  using Error::Error;
};

/// A bug in Troupe, raised by `check`.
class InternalError : public Error {
 public:
  using Error::Error;
};

/// Throws InternalError with `what` unless `condition` holds. For invariants of the program, never for input.
inline void check(bool condition, std::string_view what) {
  if (!condition) throw InternalError(std::string("internal error: ") + std::string(what));
}

}  // namespace troupe
