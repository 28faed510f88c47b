#include "rewarders/judge_client.h"

#include <httplib.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>
#include <regex>
#include <thread>

#include "common/base/error.h"
#include "common/base/text.h"

namespace troupe {
namespace {

constexpr std::size_t kMostReplyBytes = std::size_t{4} << 20;

/// choices[0].message.content, nothing where that is no text.
std::optional<std::string> content_of(const std::string& body) {
  const nlohmann::json json = nlohmann::json::parse(body, nullptr, false);
  const nlohmann::json::json_pointer place("/choices/0/message/content");
  if (!json.is_structured() || !json.contains(place) || !json.at(place).is_string()) return std::nullopt;
  return json.at(place).get<std::string>();
}

/// Seconds; dates are not understood, and mean none.
double retry_after_s(const httplib::Response& response) {
  const auto seconds = parse_double(response.get_header_value("Retry-After"));
  return seconds && *seconds > 0 ? *seconds : 0;
}

}  // namespace

JudgeClient::JudgeClient(JudgeOptions options) : options_(std::move(options)) {
  static const std::regex kUrl(R"((https?://[^/?#\s@]+)(/[^#\s]*)?)");
  std::smatch parts;
  if (!std::regex_match(options_.url, parts, kUrl)) {
    throw ConfigError("url: expected http:// or https://HOST[:PORT]/PATH, as http://127.0.0.1:8000/v1/chat/completions, found '" +
                      options_.url + "'");
  }
  server_ = parts[1];
  path_ = parts[2].matched ? parts[2].str() : "/";
}

JudgeClient::Attempt JudgeClient::attempt(const std::string& body, Deadline deadline) const {
  httplib::Client client(server_);
  if (!client.is_valid()) return {std::nullopt, "the address cannot be used", false, 0};
  const auto left = std::chrono::milliseconds(std::max<std::int64_t>(1, deadline.remaining_ms()));
  client.set_connection_timeout(left);
  client.set_read_timeout(left);
  client.set_write_timeout(left);
  httplib::Request request;
  request.method = "POST";
  request.path = path_;
  request.set_header("Content-Type", "application/json");
  if (!options_.api_key.empty()) request.set_header("Authorization", "Bearer " + options_.api_key);
  request.body = body;
  std::string received;
  // A server that sends a little now and then is held to the deadline too.
  request.content_receiver = [&](const char* data, std::size_t bytes, std::uint64_t, std::uint64_t) {
    received.append(data, bytes);
    return received.size() <= kMostReplyBytes && !deadline.expired();
  };
  const httplib::Result result = client.send(request);
  if (!result)
    return {std::nullopt,
            deadline.expired() ? "no reply in time" : "no connection, or it broke: " + httplib::to_string(result.error()), true, 0};
  if (result->status != 200) {
    const bool passes = result->status == 408 || result->status == 429 || result->status >= 500;
    return {std::nullopt, "status " + std::to_string(result->status) + ": " + received.substr(0, 200), passes,
            retry_after_s(*result)};
  }
  if (auto reply = content_of(received)) return {std::move(reply), "", false, 0};
  return {std::nullopt, "expected a chat completion with choices[0].message.content, found: " + received.substr(0, 200), true, 0};
}

std::optional<std::string> JudgeClient::ask(const std::string& prompt, const std::function<bool(const std::string& reply)>& accept,
                                            Deadline deadline) const {
  const nlohmann::ordered_json request = {{"model", options_.model},
                                          {"messages", {{{"role", "user"}, {"content", prompt}}}},
                                          {"temperature", options_.temperature},
                                          {"max_tokens", options_.max_tokens}};
  const std::string body = request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  for (int retry = 0;; ++retry) {
    Attempt made = attempt(body, deadline);
    if (made.reply && accept(*made.reply)) return made.reply;
    if (made.reply) made = {std::nullopt, "no score in the reply: " + made.reply->substr(0, 200), true, 0};
    const double wait_s = std::max(made.wait_s, options_.backoff_s * std::pow(2.0, retry));
    const bool again = made.may_retry && retry < options_.retries && wait_s * 1000 < static_cast<double>(deadline.remaining_ms());
    if (!again) {
      std::cerr << "judge " + options_.url + ": given up after " + std::to_string(retry + 1) +
                       (retry == 0 ? " attempt: " : " attempts: ") + made.problem + "\n";
      return std::nullopt;
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(wait_s));
  }
}

}  // namespace troupe
