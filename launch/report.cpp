#include "launch/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/metric_names.h"
#include "common/base/metrics.h"
#include "common/base/text.h"
#include "common/config/config.h"
#include "common/config/run_folder.h"
#include "launch/report_charts.h"
#include "learner/health/health.h"

namespace troupe {

extern const std::string_view kChartJs;     // Chart.js, embedded by the build
extern const std::string_view kReportPage;  // report_page.html, likewise

namespace {

using nlohmann::json;

constexpr std::string_view kChartJsLicence = R"(Chart.js, https://www.chartjs.org, (c) 2014-2022 Chart.js Contributors, with @kurkle/color, (c) 2022 Jukka Kurkela,
both under the MIT License:

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation
files (the "Software"), to deal in the Software without restriction, including without limitation the rights to use, copy,
modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software
is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES
OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE
LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR
IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.)";

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

/// JSON that cannot end the script element that holds it: '<' occurs in strings only, where \u003c means the same.
std::string json_for_script(const json& value) {
  std::string escaped;
  for (const char c : value.dump(-1, ' ', true, json::error_handler_t::replace)) {
    if (c == '<') {
      escaped += "\\u003c";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

/// Four significant digits; from 1,000 on a whole number with its thousands marked.
std::string shown(double value) {
  char text[64];
  if (std::abs(value) < 1000 || std::abs(value) >= 1e15) {
    std::snprintf(text, sizeof text, "%.4g", value);
    return text;
  }
  std::snprintf(text, sizeof text, "%.0f", value);
  std::string marked = text;
  const std::ptrdiff_t first_digit = value < 0 ? 1 : 0;
  for (std::ptrdiff_t place = std::ssize(marked) - 3; place > first_digit; place -= 3) {
    marked.insert(static_cast<std::size_t>(place), 1, ',');
  }
  return marked;
}

std::string element(std::string_view tag, std::string_view css_class, std::string_view text) {
  const std::string opening = css_class.empty() ? "" : " class=\"" + std::string(css_class) + "\"";
  return "<" + std::string(tag) + opening + ">" + escape_html(text) + "</" + std::string(tag) + ">";
}

/// The JSON object of a file that may be missing.
json optional_object(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return json::object();
  json object = json::parse(read_file(path), nullptr, false);
  if (!object.is_object()) throw ConfigError(path.string() + ": expected a JSON object");
  return object;
}

std::string optional_text(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? read_file(path) : "";
}

std::string duration(double seconds) {
  const auto whole = static_cast<long long>(std::llround(seconds));
  char text[64];
  if (whole < 3600) {
    std::snprintf(text, sizeof text, "%lld min %lld s", whole / 60, whole % 60);
  } else {
    std::snprintf(text, sizeof text, "%lld h %lld min", whole / 3600, whole / 60 % 60);
  }
  return text;
}

std::string facts_html(const json& summary, const std::vector<MetricsLine>& lines) {
  std::string html;
  const auto fact = [&](std::string_view name, const std::string& value, std::string_view css_class = "") {
    html += "<div class=\"" + std::string(css_class) + "\">" + element("dt", "", name) + element("dd", "", value) +
            "</div>";
  };
  const auto number = [&](const char* key, std::string_view name) {
    if (summary.contains(key) && summary[key].is_number()) fact(name, shown(summary[key].get<double>()));
  };
  fact("Steps", std::to_string(lines.empty() ? 0 : lines.back().step));
  if (summary.contains("wall_s") && summary["wall_s"].is_number())
    fact("Wall time", duration(summary["wall_s"].get<double>()));
  number("attempts", "Attempts");
  number("groups_trained", "Groups trained");
  number("tokens_generated", "Tokens generated");
  number("tokens_trained", "Tokens trained");
  if (summary.contains("final_hash") && summary["final_hash"].is_string()) {
    fact("Final hash", summary["final_hash"].get<std::string>(), "hash");
  }
  return html;
}

double mean_of(Points::const_iterator begin, Points::const_iterator end) {
  double sum = 0;
  for (auto point = begin; point != end; ++point) sum += point->second;
  return sum / static_cast<double>(end - begin);
}

/// One row of the table: a measure at the two ends of the run, and whether more of it is better.
struct Measure {
  std::string_view metric;
  std::string_view name;
  int better;     // 1 more, -1 less, 0 neither
  bool averaged;  // over the first and last tenth of the steps, for what is noisy
};

constexpr Measure kMeasures[] = {
    {metric::kHeldOutAccuracy, "Held-out accuracy (greedy)", 1, false},
    {metric::kHeldOutReward, "Held-out reward (greedy)", 1, false},
    {metric::kAccuracy, "Training accuracy", 1, true},
    {metric::kReward, "Training reward", 1, true},
    {metric::kFormat, "Completions in the demanded form", 1, true},
    {metric::kLengthMean, "Completion length in tokens", 0, true},
    {metric::kCutOffShare, "Share of completions cut off", -1, true},
    {metric::kZeroVarianceShare, "Share of groups whose rewards are all equal", 0, true},
    {metric::kEntropy, "Entropy in nats per token", 0, true},
    {metric::kKl, "KL to the reference in nats per token", 0, true},
};

std::string measure_row(const Measure& measure, const Points& points) {
  const std::ptrdiff_t count = std::ssize(points);
  const std::ptrdiff_t window = measure.averaged ? std::max<std::ptrdiff_t>(1, count / 10) : 1;
  const double before = mean_of(points.begin(), points.begin() + window);
  const double after = mean_of(points.end() - window, points.end());
  const double change = after - before;
  const double verdict = change * measure.better;
  const std::string_view css_class = verdict > 0 ? "number up" : verdict < 0 ? "number down" : "number";
  const std::string label =
      std::string(measure.name) + (window > 1 ? ", mean of " + std::to_string(window) + " steps" : "");
  return "<tr>" + element("td", "", label) + element("td", "number", shown(before)) +
         element("td", "number", shown(after)) + element("td", css_class, (change > 0 ? "+" : "") + shown(change)) +
         "</tr>";
}

std::string before_after_html(const Curves& curves) {
  std::string rows;
  for (const Measure& measure : kMeasures) {
    const auto found = curves.find(measure.metric);
    if (found != curves.end()) rows += measure_row(measure, found->second);
  }
  if (rows.empty()) return "<p class=\"note\">No step has been recorded yet.</p>";
  return "<table><thead><tr><th>Measure</th><th class=\"number\">Before</th><th class=\"number\">After</th>"
         "<th class=\"number\">Change</th></tr></thead><tbody>" +
         rows + "</tbody></table>";
}

struct Sample {
  std::string gold;
  std::string before;  // HTML of the completions
  std::string after;
};

std::string completion_html(const json& line) {
  std::string html;
  if (line.contains("reward") && line["reward"].is_number()) {
    html += "<h4>reward " + element("span", "badge", shown(line["reward"].get<double>())) + "</h4>";
  }
  return html + element("pre", "", line["completion"].get<std::string>());
}

std::string text_of(const json& line, const char* key) {
  const auto found = line.find(key);
  if (found == line.end() || found->is_null()) return "";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

std::string samples_html(const std::filesystem::path& path) {
  std::vector<std::string> prompts;  // in the order of the file
  std::map<std::string, Sample> samples;
  const std::string file = optional_text(path);
  int number = 0;
  for (const std::string_view text : split(file, '\n')) {
    ++number;
    if (trim(text).empty()) continue;
    const json line = json::parse(text, nullptr, false);
    const std::string when = line.is_object() ? text_of(line, "when") : "";
    if ((when != "before" && when != "after") || !line.contains("prompt") || !line.contains("completion") ||
        !line["completion"].is_string()) {
      throw ConfigError(
          path.string() + ":" + std::to_string(number) +
          ": expected {\"when\": \"before\" or \"after\", \"prompt\", \"completion\", \"gold\", \"reward\"}");
    }
    const std::string prompt = text_of(line, "prompt");
    if (!samples.contains(prompt)) prompts.push_back(prompt);
    Sample& sample = samples[prompt];
    sample.gold = text_of(line, "gold");
    (when == "before" ? sample.before : sample.after) += completion_html(line);
  }
  if (prompts.empty()) return "<p class=\"note\">No samples have been recorded.</p>";
  std::string html;
  for (const std::string& prompt : prompts) {
    const Sample& sample = samples[prompt];
    html += "<article class=\"card sample\">" + element("pre", "", prompt);
    if (!sample.gold.empty()) html += "<p class=\"note\">gold answer " + element("span", "badge", sample.gold) + "</p>";
    const std::string none = "<p class=\"note\">none</p>";
    html += "<div class=\"pair\"><div class=\"side\"><h4>Before</h4>" + (sample.before.empty() ? none : sample.before) +
            "</div><div class=\"side\"><h4>After</h4>" + (sample.after.empty() ? none : sample.after) +
            "</div></div></article>";
  }
  return html;
}

/// What the checks of [health] found, one paragraph each; "" where there is nothing, or no configuration to go by.
std::string health_html(const RunFolder& folder, const std::vector<MetricsLine>& lines) {
  if (!std::filesystem::exists(folder.config())) return "";
  std::string html;
  bool now = false;
  const Health health = health_of(load_config(folder.config().string(), {}), lines);
  for (const Finding& finding : health.findings()) {
    const std::string end = finding.until == 0 ? "" : "up to step " + std::to_string(finding.until) + ", ";
    html += element("p", "", end + describe(finding));
    now = now || finding.until == 0;
  }
  if (html.empty()) return "";
  const std::string title = now ? "This run is not learning" : "This run was not learning for a while";
  return "<section id=\"health\" class=\"card alarm\">" + element("h2", "", title) + html + "</section>";
}

std::string dictionary_html(const Curves& curves) {
  std::string rows;
  for (const MetricInfo& info : kMetricInfos) {
    if (!curves.contains(info.name)) continue;
    rows += "<tr>" + element("td", "", info.name) + element("td", "", info.unit) + element("td", "", info.meaning) +
            "</tr>";
  }
  return "<table><thead><tr><th>Name</th><th>Unit</th><th>Meaning</th></tr></thead><tbody>" + rows + "</tbody></table>";
}

/// The page with every {{name}} replaced, in one pass: what is put in is not looked at again.
std::string fill(std::string_view page, const std::map<std::string, std::string, std::less<>>& parts) {
  std::string filled;
  while (true) {
    const std::size_t begin = page.find("{{");
    filled += page.substr(0, begin);
    if (begin == std::string_view::npos) return filled;
    const std::size_t end = page.find("}}", begin);
    check(end != std::string_view::npos, "report_page.html has an open {{");
    const std::string_view name = page.substr(begin + 2, end - begin - 2);
    const auto part = parts.find(name);
    check(part != parts.end(), "report_page.html names a part that is not there: " + std::string(name));
    filled += part->second;
    page.remove_prefix(end + 2);
  }
}

}  // namespace

void write_report(const std::filesystem::path& run_dir) {
  const RunFolder folder{run_dir};
  const std::vector<MetricsLine> lines = read_metrics(folder.metrics());
  const Curves curves = curves_of(lines, folder);
  const json summary = optional_object(folder.summary());
  const std::string name = std::filesystem::absolute(run_dir / "").lexically_normal().parent_path().filename().string();
  const std::string state = summary.empty() ? "a run that has not ended" : "a finished run";
  write_file_atomically(run_dir / "report.html",
                        fill(kReportPage, {{"title", escape_html(name)},
                                           {"subtitle", "Report of " + state + ", written " + utc_now()},
                                           {"facts", facts_html(summary, lines)},
                                           {"health", health_html(folder, lines)},
                                           {"before_after", before_after_html(curves)},
                                           {"samples", samples_html(folder.samples())},
                                           {"config", escape_html(optional_text(folder.config()))},
                                           {"dictionary", dictionary_html(curves)},
                                           {"chart_data", json_for_script(charts_of(curves))},
                                           {"chart_js_licence", std::string(kChartJsLicence)},
                                           {"chart_js", std::string(kChartJs)}}));
}

}  // namespace troupe
