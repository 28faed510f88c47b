#pragma once

#include <functional>
#include <optional>
#include <string>

#include "common/base/clock.h"

namespace troupe {

struct JudgeOptions {
  std::string url;      // http:// or https://HOST[:PORT]/PATH, of OpenAI's chat completions
  std::string model;    // as the server names it
  std::string api_key;  // empty: none is sent
  double temperature = 0;
  int max_tokens = 1024;
  int retries = 3;         // after the first attempt
  double backoff_s = 0.5;  // before the first retry; doubled for each further one
};

/// Asks a chat model over HTTP. Any thread.
class JudgeClient {
 public:
  /// @throws ConfigError where the address is malformed.
  explicit JudgeClient(JudgeOptions options);

  /// What the model replies to `prompt`. An attempt that fails is made again, `retries` times, after a pause (or what the server's
  /// Retry-After asks for): no connection, 408, 429, 5xx, a reply that is no chat completion, and one that `accept` refuses.
  /// Nothing where none of them went well by the deadline, or the server answers with another status; standard error says why.
  std::optional<std::string> ask(const std::string& prompt, const std::function<bool(const std::string& reply)>& accept,
                                 Deadline deadline) const;

 private:
  struct Attempt {
    std::optional<std::string> reply;
    std::string problem;  // where there is no reply
    bool may_retry = false;
    double wait_s = 0;  // as the server asks
  };
  Attempt attempt(const std::string& body, Deadline deadline) const;

  JudgeOptions options_;
  std::string server_;  // scheme, host and port
  std::string path_;
};

}  // namespace troupe
