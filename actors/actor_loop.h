#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "common/base/logger.h"
#include "common/config/config.h"
#include "common/messages/control.h"
#include "common/model/architecture.h"
#include "common/tokenizer/tokenizer.h"
#include "common/transport/channel.h"

namespace troupe {

/// What an actor needs of a model beside its weights, which come from the hub.
struct ActorModel {
  Architecture architecture;
  Tokenizer tokenizer;
};

struct ActorOptions {
  std::function<std::unique_ptr<PeerChannel>()> connect;
  Hello hello;
  Config local;  // its own file: actors.{slots, device, weights}, deadline.{heartbeat_s, reconnect_s}
  std::optional<std::int64_t> local_rank;  // among the job's processes on this host, where a launcher says it: chooses the GPU
  std::function<ActorModel(const Welcome&)> load_model;  // called once, when the hub has offered the first weights
  std::function<bool()> stop;  // asked between steps; true: leave with 75 (preemption). May be empty
};

/// An actor until it ends: registers with the hub, fetches weights, takes leases, generates their groups and hands them
/// over. Everything that changes numbers comes from the hub's configuration. Returns the process's exit code: the hub's
/// on Shutdown, 75 where the hub is lost or `stop` says so. Blocks.
/// @throws ConfigError where the run's model is not this actor's, DeviceError where the model computes NaN,
/// TransportError where weights cannot be fetched; the hub is told first.
int run_actor(const ActorOptions& options, const Logger& logger);

}  // namespace troupe
