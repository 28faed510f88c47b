#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace troupe {

/// The names in a run directory; INTERFACE of the run for users, tools and the next attempt.
struct RunFolder {
  std::filesystem::path root;

  std::filesystem::path config() const { return root / "config.cfg"; }
  std::filesystem::path version() const { return root / "version.txt"; }
  std::filesystem::path lock() const { return root / "run.lock"; }
  std::filesystem::path hub() const { return root / "hub.json"; }
  std::filesystem::path token() const { return root / "hub.token"; }
  std::filesystem::path ledger() const { return root / "ledger.log"; }
  std::filesystem::path rollouts() const { return root / "rollouts"; }
  /// Which groups were in steps whose gradients were not finite.
  std::filesystem::path quarantine() const { return rollouts() / "quarantine"; }
  std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  /// The Hugging Face directory that a cold start makes and the run starts from.
  std::filesystem::path start() const { return root / "start"; }
  std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  std::filesystem::path samples() const { return root / "samples.jsonl"; }
  /// Which supervised stage trains here, and from which weights.
  std::filesystem::path stage() const { return root / "stage.json"; }
  std::filesystem::path summary() const { return root / "summary.json"; }
  /// Where `troupe run` has MPI keep its shared memory: a folder in /dev/shm that is this run directory's, by whatever path it is
  /// named. Ranks that were killed leave theirs there.
  std::filesystem::path mpi_memory() const;
};

/// Where the hub of a run listens: RUN/hub.json.
struct HubAddress {
  std::string endpoint;
  std::uint64_t pid = 0;
  std::string host;
  std::uint64_t incarnation = 0;
};

void write_hub_address(const RunFolder& folder, const HubAddress& address);

/// Nothing where the file is not there yet. @throws ConfigError naming the file where it is not what write_hub_address wrote.
std::optional<HubAddress> read_hub_address(const RunFolder& folder);

/// @throws ConfigError where a peer on `host` cannot reach the hub, because it listens on another host's loopback alone.
void check_reachable(const HubAddress& hub, const std::string& host);

/// The word that a hub beyond loopback demands of every peer: random, in RUN/hub.token (mode 0600). Made once a run, so that peers
/// which outlive a learner's restart still know it.
std::string make_hub_token(const RunFolder& folder);

/// The content of RUN/hub.token, or "" where there is none (loopback).
std::string read_hub_token(const RunFolder& folder);

/// Whether the process that RUN/run.lock names runs on this host: then RUN/hub.json will come (a cold start takes a while).
bool has_live_owner(const RunFolder& folder);

/// This machine's host name.
std::string host_name();

}  // namespace troupe
