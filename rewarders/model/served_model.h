#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace troupe {

/// A question and a response, as a reward model is to score them. Borrows both.
struct ResponseToScore {
  const nlohmann::json& row;
  std::string response;
};

/// A reward model on the CPU or a GPU. The header needs no libtorch. One thread at a time.
class ServedModel {
 public:
  /// Loads `folder`. `dtype` is fp32 or bf16, `device` auto, cpu or cuda (compute_device.h). @throws ConfigError naming what is missing,
  /// or is no reward model.
  ServedModel(const std::filesystem::path& folder, const std::string& dtype, const std::string& device, int threads);
  ~ServedModel();

  /// @throws ConfigError where `folder` holds no reward model of a known family; reads its config.json alone.
  static void check(const std::filesystem::path& folder);
  /// "cpu" or "cuda".
  std::string device() const;
  /// Bytes of memory that one loaded by fp32 or bf16 may take.
  static std::uint64_t memory_bytes(const std::filesystem::path& folder);

  /// The score of each; nothing where one cannot be written or is longer than the model's positions, of which standard error says
  /// why. The others in its batch change no bit of a score.
  std::vector<std::optional<double>> scores(const std::vector<ResponseToScore>& responses) const;

 private:
  struct Model;
  std::unique_ptr<const Model> model_;
};

}  // namespace troupe
