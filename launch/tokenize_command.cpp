#include "launch/tokenize_command.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/strict_json.h"
#include "common/tokenizer/tokenizer.h"
#include "launch/rows_io.h"

namespace troupe {
namespace {

std::vector<std::int32_t> ids_of(const nlohmann::json& values, const std::string& where) {
  if (!values.is_array()) throw ConfigError("\"ids\": expected an array, found " + std::string(values.type_name()));
  std::vector<std::int32_t> ids;
  for (const auto& value : values) {
    const auto id = json_as<std::int64_t>(value, "ids", where);
    if (id < 0 || id > std::numeric_limits<std::int32_t>::max()) {
      throw ConfigError("token id " + std::to_string(id) + " is out of range");
    }
    ids.push_back(static_cast<std::int32_t>(id));
  }
  return ids;
}

nlohmann::json tokenized(const Tokenizer& tokenizer, const Row& row) {
  if (row.json.contains("text") == row.json.contains("ids")) {
    throw ConfigError("expected exactly one of the keys \"text\" and \"ids\"");
  }
  const auto ids = row.json.contains("ids")
                       ? ids_of(row.json["ids"], row.where)
                       : tokenizer.encode(json_get<std::string>(row.json, "text", row.where), false);
  return {{"ids", ids}, {"text", tokenizer.decode(ids, false)}};
}

}  // namespace

int run_tokenize(const std::filesystem::path& model_folder, const std::filesystem::path& in,
                 const std::filesystem::path& out) {
  const Tokenizer tokenizer = Tokenizer::load(model_folder);
  const std::vector<Row> rows = read_rows(in);
  RowsWriter writer(out);
  for (const Row& row : rows) {
    try {
      writer.write(tokenized(tokenizer, row));
    } catch (const ConfigError& error) {
      const std::string what = error.what();
      throw ConfigError(what.starts_with(row.where) ? what : row.where + ": " + what);
    }
  }
  writer.close();
  return 0;
}

}  // namespace troupe
