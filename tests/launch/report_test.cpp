#include "launch/report.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "common/base/error.h"
#include "common/base/files.h"
#include "learner/hub/ledger.h"

using namespace troupe;
namespace fs = std::filesystem;

namespace {

/// A run directory with the given files.
struct Run {
  fs::path path = fs::temp_directory_path() / ("troupe-report-" + std::to_string(::getpid())) / "my <run>";
  explicit Run(const std::string& metrics) {
    fs::remove_all(path.parent_path());
    fs::create_directories(path);
    add("metrics.jsonl", metrics);
  }
  ~Run() { fs::remove_all(path.parent_path()); }
  void add(const std::string& name, const std::string& text) const { write_file_atomically(path / name, text); }
  std::string report() const {
    write_report(path);
    return read_file(path / "report.html");
  }
};

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

/// The JSON between the tags of the element with id chart-data.
nlohmann::json chart_data(const std::string& page) {
  const std::string opening = "<script type=\"application/json\" id=\"chart-data\">";
  const std::size_t begin = page.find(opening) + opening.size();
  return nlohmann::json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

const std::string kMetrics =
    "{\"step\":0,\"held_out_accuracy\":0.25}\n"
    "{\"step\":1,\"reward\":0.5,\"kl\":null,\"tokens_generated\":1234567.0,\"length_mean\":60.0}\n"
    "{\"step\":2,\"reward\":0.75,\"kl\":0.5,\"held_out_accuracy\":0.875,\"my </script> "
    "metric\":1.0,\"length_mean\":50.0}\n";

}  // namespace

TEST_SUITE("launch/report") {
  TEST_CASE("the charts hold the points of metrics.jsonl, and a metric without a place of its own gets one") {
    const Run run(kMetrics);

    const nlohmann::json charts = chart_data(run.report());

    REQUIRE(charts.size() == 6);
    CHECK(charts[0]["title"] == "Reward");
    CHECK(charts[0]["series"][0]["points"] == nlohmann::json::parse("[[1, 0.5], [2, 0.75]]"));
    CHECK(charts[1]["title"] == "Accuracy");
    CHECK(charts[1]["share"] == true);
    CHECK(charts[1]["series"][0]["name"] == "held_out_accuracy");
    CHECK(charts[1]["series"][0]["points"] == nlohmann::json::parse("[[0, 0.25], [2, 0.875]]"));
    CHECK(charts[2]["unit"] == "tokens");
    CHECK(charts[3]["series"][0]["points"] == nlohmann::json::parse("[[2, 0.5]]"));
    CHECK(charts[5]["title"] == "my </script> metric");
  }

  TEST_CASE("the table shows both ends of the run, the change, and whether it is for the better") {
    const Run run(kMetrics);

    const std::string page = run.report();

    CHECK(has(page,
              "<tr><td>Held-out accuracy (greedy)</td><td class=\"number\">0.25</td><td class=\"number\">0.875</td>"
              "<td class=\"number up\">+0.625</td></tr>"));
    CHECK(has(page,
              "<td>Completion length in tokens</td><td class=\"number\">60</td><td class=\"number\">50</td>"
              "<td class=\"number\">-10</td>"));
  }

  TEST_CASE("held-out measures are the ledger's, so that the evaluation after the last step counts") {
    const Run run(kMetrics);
    {
      Ledger ledger(run.path / "ledger.log");
      ledger.append(RunStarted{"", "", "", "run-1"});
      ledger.append(AttemptStarted{1, 0, 0});
      ledger.append(Evaluated{0, 0.25, 0.3, 64});
      ledger.append(Evaluated{2, 0.9375, 1.125, 64});
    }
    const std::string page = run.report();

    CHECK(has(page, "<td>Held-out accuracy (greedy)</td><td class=\"number\">0.25</td><td class=\"number\">0.9375</td>"));
    CHECK(has(page, "<td>Held-out reward (greedy)</td><td class=\"number\">0.3</td><td class=\"number\">1.125</td>"));
  }

  TEST_CASE("a run that is not learning, or was not for a while, is said so at the top; one that is learning is not") {
    const auto line = [](int step, const std::string& format) {
      return "{\"step\":" + std::to_string(step) + ",\"format\":" + format + "}\n";
    };
    std::string metrics;
    for (int step = 1; step <= 5; ++step) metrics += line(step, "0");
    const Run run(metrics);
    CHECK_FALSE(has(run.report(), "not learning"));  // without a configuration there is nothing to go by
    run.add("config.cfg", "[optimizer]\nlr = 1e-4\n");
    CHECK(has(run.report(), "<h2>This run is not learning</h2><p>since step 1: the format reward never fires. Likely cause: "));
    for (int step = 6; step <= 10; ++step) metrics += line(step, "0.5");
    run.add("metrics.jsonl", metrics);
    CHECK(has(run.report(), "<h2>This run was not learning for a while</h2><p>up to step 5, since step 1: the format"));
    run.add("metrics.jsonl", line(1, "0.5"));
    CHECK_FALSE(has(run.report(), "not learning"));
  }

  TEST_CASE("noisy measures are averaged over a tenth of the steps at each end") {
    std::string metrics;
    for (int step = 1; step <= 20; ++step) {
      metrics += "{\"step\":" + std::to_string(step) + ",\"reward\":" + std::to_string(step) + "}\n";
    }
    const Run run(metrics);

    CHECK(has(run.report(),
              "<td>Training reward, mean of 2 steps</td><td class=\"number\">1.5</td><td class=\"number\">19.5</td>"
              "<td class=\"number up\">+18</td>"));
  }

  TEST_CASE("the page is one file that needs nothing from elsewhere and carries Chart.js with its licence") {
    const Run run(kMetrics);

    const std::string page = run.report();

    CHECK(page.starts_with("<!doctype html>"));
    CHECK(page.ends_with("</html>\n"));
    CHECK(has(page, "default-src 'none'"));
    for (const char* outside : {" src=", "<link", "<img", "<iframe", "@import", "url("}) {
      CAPTURE(outside);
      CHECK_FALSE(has(page, outside));
    }
    CHECK(has(page, "Chart.js v3"));
    CHECK(has(page, "The above copyright notice and this permission notice shall be included"));
    CHECK(count(page, "<script") == 3);
    CHECK(count(page, "</script>") == 3);
    CHECK(fs::file_size(run.path / "report.html") > 200000);
  }

  TEST_CASE("names, prompts, completions and the configuration cannot break out of their places") {
    const Run run(kMetrics);
    run.add("config.cfg", "[data]\ntrain = <b>&\"{{facts}}\n");
    run.add(
        "samples.jsonl",
        "{\"when\":\"before\",\"prompt\":\"<i>1+1?\",\"completion\":\"</script><script>alert(1)</script> {{config}}\","
        "\"gold\":2,\"reward\":0.1}\n"
        "{\"when\":\"after\",\"prompt\":\"<i>1+1?\",\"completion\":\"it's 2\",\"gold\":2,\"reward\":1.1}\n");

    const std::string page = run.report();

    CHECK(has(page, "<title>my &lt;run&gt; · Troupe</title>"));
    CHECK(has(page, "train = &lt;b&gt;&amp;&quot;{{facts}}"));
    CHECK(has(page, "<pre>&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt; {{config}}</pre>"));
    CHECK(has(page, "<pre>it&#39;s 2</pre>"));
    CHECK(count(page, "<pre>&lt;i&gt;1+1?</pre>") == 1);  // before and after stand under one prompt
    CHECK(has(page, "<h4>reward <span class=\"badge\">0.1</span></h4>"));
    CHECK(count(page, "<script") == 3);
  }

  TEST_CASE("the summary's figures stand at the top") {
    const Run run(kMetrics);
    CHECK(has(run.report(), "Report of a run that has not ended"));

    run.add("summary.json",
            "{\"wall_s\": 271.4, \"tokens_generated\": 1234567, \"attempts\": 2, \"final_hash\": \"00ff\", "
            "\"groups_trained\": 999}");
    const std::string page = run.report();

    CHECK(has(page, "Report of a finished run"));
    for (const char* value :
         {"<dd>2</dd>", "<dd>4 min 31 s</dd>", "<dd>1,234,567</dd>", "<dd>999</dd>", "<dd>00ff</dd>"}) {
      CAPTURE(value);
      CHECK(has(page, value));
    }
  }

  TEST_CASE("what is missing or damaged is named by file and line") {
    const Run run(kMetrics);
    run.add("samples.jsonl",
            "{\"when\":\"after\",\"prompt\":\"p\",\"completion\":\"c\"}\n\n{\"when\":\"later\",\"prompt\":\"p\","
            "\"completion\":\"c\"}\n");
    const auto message = [&]() -> std::string {
      try {
        write_report(run.path);
      } catch (const ConfigError& error) {
        return error.what();
      }
      return "";
    };

    CHECK(has(message(), "samples.jsonl:3: expected {\"when\": \"before\" or \"after\""));
    fs::remove(run.path / "samples.jsonl");
    run.add("summary.json", "[1]");
    CHECK(has(message(), "summary.json: expected a JSON object"));
    fs::remove(run.path / "metrics.jsonl");
    CHECK(has(message(), "metrics.jsonl: No such file"));
  }

  TEST_CASE("a run without a step yet says so") {
    const Run run("");

    const std::string page = run.report();

    CHECK(has(page, "No step has been recorded yet."));
    CHECK(has(page, "No samples have been recorded."));
    CHECK(chart_data(page).empty());
  }
}
