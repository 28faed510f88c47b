#include "common/base/metrics.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "common/base/error.h"
#include "common/base/metric_names.h"
#include "common/base/tensorboard.h"

using namespace troupe;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / ("troupe-metrics-" + std::to_string(::getpid()));
  Folder() {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Folder() { fs::remove_all(path); }
  std::string metrics() const { return read_file(path / "metrics.jsonl"); }
};

}  // namespace

TEST_SUITE("base/tensorboard") {
  TEST_CASE("crc32c gives the known answers of RFC 3720") {
    CHECK(crc32c("123456789") == 0xE3069283u);
    CHECK(crc32c(std::string(32, '\0')) == 0x8A9136AAu);
    CHECK(crc32c(std::string(32, '\xff')) == 0x62A8AB43u);
    CHECK(crc32c("") == 0u);
  }

  TEST_CASE("events are the bytes that TensorBoard itself writes") {
    const std::string golden = read_file(fs::path(TROUPE_TEST_DATA) / "parity" / "tensorboard_events.bin");

    const std::string written = tensorboard_record(version_event(1.5)) +
                                tensorboard_record(session_start_event(2.25, 301)) +
                                tensorboard_record(scalar_event(3.125, 0, {{"accuracy", 0.0}})) +
                                tensorboard_record(scalar_event(1e9, 300, {{"reward", 0.75}, {"kl", -0.1}}));

    CHECK(written == golden);
  }
}

TEST_SUITE("base/metrics") {
  TEST_CASE("means are sums over counts, whatever the grouping") {
    MetricSums a;
    MetricSums b;
    a.add("loss", 3.0, 2);
    a.add("loss", 1.0);
    b.add("loss", 6.0, 5);
    b.add("kl", 0.5);
    a.add_maximum("length_max", -7);
    b.add_maximum("length_max", -9);
    b.add_maximum("length_max", -8);

    a.merge(b);

    CHECK(a.mean("loss") == 10.0 / 8);
    CHECK(a.mean("kl") == 0.5);
    CHECK(a.mean("length_max") == -7);
    CHECK(a.means() == std::map<std::string, double>{{"kl", 0.5}, {"length_max", -7}, {"loss", 1.25}});
  }

  TEST_CASE("a maximum merges into an empty one, and an empty one changes nothing") {
    MetricSums a;
    MetricSums b;
    b.add_maximum("lag_max", -3);

    a.merge(b);
    CHECK(a == b);
    a.merge(MetricSums());
    CHECK(a == b);
  }

  TEST_CASE("no observation is no mean, and one name is one kind of metric") {
    MetricSums sums;
    sums.add("kl", 0, 0);

    CHECK_FALSE(sums.mean("kl").has_value());
    CHECK_FALSE(sums.mean("other").has_value());
    CHECK(sums.means().empty());
    CHECK_THROWS_AS(sums.add_maximum("kl", 1), InternalError);
  }

  TEST_CASE("a step is one JSON line, and one record of the event file") {
    const Folder folder;
    MetricsWriter writer(folder.path, 0);

    writer.write(1, {{"reward", 0.1}, {"kl", std::numeric_limits<double>::quiet_NaN()}});
    writer.write(2, {{"reward", 0.5}});

    CHECK(folder.metrics() == "{\"step\":1,\"kl\":null,\"reward\":0.1}\n{\"step\":2,\"reward\":0.5}\n");
    std::string events;
    for (const auto& entry : fs::directory_iterator(folder.path)) {
      if (entry.path().filename().string().starts_with("events.out.tfevents.")) events += read_file(entry.path());
    }
    CHECK(events.find(session_start_event(0, 1).substr(9)) != std::string::npos);
    const std::string last = scalar_event(0, 2, {{"reward", 0.5}});
    CHECK(events.find(last.substr(9)) != std::string::npos);  // after the wall time
    CHECK(events.find("brain.Event:2") != std::string::npos);
  }

  TEST_CASE("a resumed writer drops later steps and a torn line, and goes on") {
    const Folder folder;
    {
      MetricsWriter writer(folder.path, 0);
      for (std::int64_t step = 0; step <= 5; ++step) writer.write(step, {{"reward", static_cast<double>(step)}});
    }
    std::ofstream(folder.path / "metrics.jsonl", std::ios::app) << "{\"step\":3,\"rew";

    MetricsWriter writer(folder.path, 2);
    writer.write(3, {{"reward", 30}});

    CHECK(folder.metrics() ==
          "{\"step\":0,\"reward\":0.0}\n{\"step\":1,\"reward\":1.0}\n{\"step\":2,\"reward\":2.0}\n{\"step\":3,"
          "\"reward\":30.0}\n");
  }

  TEST_CASE("a damaged line in the middle is named, not dropped") {
    const Folder folder;
    const fs::path path = folder.path / "metrics.jsonl";
    write_file_atomically(path, "{\"step\":1}\n{\"stop\":2}\n{\"step\":3}\n");

    CHECK_THROWS_WITH_AS(truncate_metrics_after(path, 9),
                         (path.string() + ":2: expected a JSON object with a step, found '{\"stop\":2}'").c_str(),
                         ConfigError);
    CHECK_NOTHROW(truncate_metrics_after(folder.path / "missing.jsonl", 0));
  }

  TEST_CASE("lines read back, without values that were not finite and without a torn last line") {
    const Folder folder;
    const fs::path path = folder.path / "metrics.jsonl";
    write_file_atomically(path, "{\"step\":0,\"kl\":null,\"reward\":0.5}\n{\"step\":7,\"lr\":1e-06}\n{\"step\":8");

    CHECK(read_metrics(path) ==
          std::vector<MetricsLine>{{.step = 0, .values = {{"reward", 0.5}}}, {.step = 7, .values = {{"lr", 1e-6}}}});
    CHECK_THROWS_AS(read_metrics(folder.path / "missing.jsonl"), ConfigError);
  }

  TEST_CASE("a folder that cannot be written to is named") {
    CHECK_THROWS_AS(MetricsWriter("/proc/no/such", 0), TransportError);
  }
}

TEST_SUITE("base/metric_names") {
  TEST_CASE("every metric is in the dictionary once, with a meaning") {
    std::set<std::string_view> names;
    for (const MetricInfo& info : kMetricInfos) {
      CHECK(names.insert(info.name).second);
      CHECK_FALSE(info.meaning.empty());
    }
    CHECK(metric_info("length_mean").unit == "tokens");
    CHECK(metric_info("my_reward").meaning.empty());
  }
}
