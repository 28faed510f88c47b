#include "common/chat/chat_template.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/random.h"
#include "tests/common/rollout_log/scratch_folder.h"

using nlohmann::ordered_json;
using troupe::ChatOptions;
using troupe::ChatTemplate;
using troupe::ConfigError;

namespace {

const std::string kData = std::string(TROUPE_TEST_DATA) + "/data/chat";

std::string rendered(const std::string& source, const ChatOptions& options = {}, const troupe::TemplateLimits& limits = {}) {
  return ChatTemplate::from_text(source, "dir/t.jinja", {}, limits).render(ordered_json::array(), options);
}

void check_refused(const std::string& source, const std::string& message, const troupe::TemplateLimits& limits = {}) {
  CAPTURE(source.substr(0, 200));
  CHECK_THROWS_WITH_AS(rendered(source, {}, limits), doctest::Contains(message.c_str()), ConfigError);
}

ordered_json conversation() {
  return ordered_json::parse(R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "<think>\nhm\n</think>Hello"}, {"role": "user", "content": "2+2"}])");
}

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

}  // namespace

TEST_SUITE("chat/chat_template") {
  TEST_CASE("an error names the source, the line and what it is") {
    check_refused("a\n\n{% include 'x' %}", "dir/t.jinja:3: the statement 'include' is not supported");
    check_refused("{{ 1 }}\n{{ x | nosuch }}", "dir/t.jinja:2: the filter 'nosuch' is not supported");
    check_refused("\n\n{{ x is nosuch }}", "dir/t.jinja:3: the test 'nosuch' is not supported");
    check_refused("{{\n  x.y\n}}", "dir/t.jinja:2: 'x' is undefined");
    check_refused("{% set x = {} %}\n{{ x.y.z }}", "dir/t.jinja:2: the dictionary has no 'y'");
    check_refused("{{ [1][5].x }}", "dir/t.jinja:1: the list has no item 5");
    check_refused("{{ 'a\nb' }}\n{{ 1 + 'a' }}", "dir/t.jinja:3: operator + is not supported between integer and string");
    check_refused("{#\n\n#}\n{{ raise_exception('no system\nrole') }}", "dir/t.jinja:4: the template refuses: no system\nrole");
    check_refused("a\n{% if x %}\nb", "dir/t.jinja:2: the block that begins here has no 'endif'");
    check_refused("{% for x in [1] %}\n{% endif %}", "dir/t.jinja:2: 'endif' ends no block that is open");
    check_refused("\n{# open", "dir/t.jinja:2: the comment that begins here has no end");
    check_refused("\n{% raw %}\n", "dir/t.jinja:2: the raw block that begins here has no end");
    check_refused("{{ 'a }}", "dir/t.jinja:1: the string that begins here has no end");
    check_refused("{{ (1 ]", "dir/t.jinja:1: unexpected ']', expected ')'");
    check_refused("{{ 1 ? 2 }}", "dir/t.jinja:1: unexpected character '?'");
    check_refused("{{ é }}", "dir/t.jinja:1: unexpected character 'é'");
    check_refused("{{ 1 2 }}", "dir/t.jinja:1: expected }}, found '2'");
    check_refused("{% set x %}a", "has no 'endset'");
    check_refused("{{ [1].append(2) }}", "append() would change a list, which a chat template may not do");
    check_refused("{{ 'a'.nosuch() }}", "the string has no 'nosuch'");
    check_refused("{{ f(*x) }}", "(* and **) are not supported");
    check_refused("{{ 'a'|trim(1, 2) }}", "filter 'trim': expected at most 1 arguments, found 2");
    check_refused("{{ 'a'.split(nosuch=1) }}", "split(): the argument 'nosuch' is not supported");
    check_refused("{{ '%s' % 1 }}", "operator % is not supported between string and integer");
    check_refused("{{ strftime_now('%Y') }}", "'strftime_now' is undefined");
    check_refused("{{ 9223372036854775807 + 1 }}", "an integer is beyond 64 bits");
    check_refused("{{ 9223372036854775808 }}", "expected an integer below 2^63");
    check_refused("{{ '\\ud800' }}", "escape \"d800\" in a string: expected a character's number");
    check_refused("\xFF", "dir/t.jinja: the template is not UTF-8");
    CHECK_THROWS_WITH_AS(ChatTemplate::from_text("x", "t").render(ordered_json::parse("[1]")),
                         "messages: expected a list of objects, found [1]", ConfigError);
  }

  TEST_CASE("what would exhaust the process is refused") {
    check_refused(std::string((1 << 20) + 1, 'x'), "expected a template of at most 1048576 bytes, found 1048577");
    check_refused("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "more than is allowed");
    check_refused("{{ range(100001) }}", "range(): more than 100000 numbers");
    check_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "levels deep");
    check_refused("{{ 'a' * 1000000000000 }}", "more than is allowed");
    check_refused("{{ [1] * 1000000000000 }}", "more than is allowed");
    check_refused("{{ 'x'|indent(1000000000000) }}", "more than is allowed");
    check_refused("{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}", "more than is allowed");
    check_refused("{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}", "more than is allowed");
    check_refused("{% set n = namespace(s=[1]) %}{% for i in range(50) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}", "more than is allowed");
    check_refused("{% set n = namespace(s=[1], t=[1]) %}{% for i in range(50) %}{% set n.s = [n.s, n.s] %}{% set n.t = [n.t, n.t] %}{% endfor %}{{ n.s == n.t }}",
                  "more than is allowed");
    check_refused("{% set n = namespace(s=[]) %}{% for i in range(9999) %}{% set n.s = [n.s] %}{% endfor %}", "nested more than 100 deep");
    check_refused("{% set s = 'xxxxxxxx' * 99999 %}{% for i in range(999) %}{{ s.replace('x', s) }}{% endfor %}", "more than is allowed");
    check_refused("{{ " + repeated("(", 5000) + "1" + repeated(")", 5000) + "}}", "nested more than 100 deep");
    check_refused("{{ " + repeated("not ", 5000) + "1 }}", "nested more than 100 deep");
    check_refused("{{ " + repeated("- ", 5000) + "1 }}", "nested more than 100 deep");
    check_refused("{{ " + repeated("[", 5000) + repeated("]", 5000) + "}}", "nested more than 100 deep");
    check_refused("{{ 1" + repeated(" + 1", 5000) + "}}", "more than 200 levels");
    check_refused("{{ x" + repeated(".x", 5000) + "}}", "more than 200 levels");
    check_refused("{{ x" + repeated("|trim", 5000) + "}}", "more than 200 levels");
    check_refused("{{ 1" + repeated(" if 1 else 1", 5000) + "}}", "nested more than 100 deep");
    check_refused("{{ 'a'|map('map'" + repeated(", 'map'", 5000) + ") }}", "more than 100 arguments");
    check_refused(repeated("{% if 1 %}", 5000), "nested more than 100 deep");
    check_refused("{% for " + repeated("(", 5000) + repeated(")", 5000) + "%}", "nested more than 100 deep");
    check_refused("{% for i in range(9) %}{{ 'x' * 100 }}{% endfor %}", "longer than the allowed 500 bytes", {.output_bytes = 500});
    CHECK(rendered("{% for i in range(5) %}{{ 'x' * 100 }}{% endfor %}", {}, {.output_bytes = 500}).size() == 500);
    CHECK_THROWS_WITH_AS(rendered("{% for i in range(9) %}\n{% endfor %}", {}, {.steps = 50}), doctest::Contains("dir/t.jinja:"), ConfigError);
  }

  TEST_CASE("cut or altered anywhere, a template gives a text or a ConfigError") {
    const ordered_json messages = conversation();
    ChatOptions options;
    options.tools = ordered_json::parse(R"([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}])");
    options.date = "2024-07-06";
    constexpr int kVariants = 250;
    int refused = 0;
    std::uint32_t number = 0;
    for (const auto& entry : std::filesystem::directory_iterator(kData)) {
      if (entry.path().extension() != ".jinja") continue;
      const std::string whole = troupe::read_file(entry.path());
      for (int i = 0; i < kVariants; ++i) {
        const auto words = troupe::philox4x32({number++, 0, 0, 0}, {7, 7});
        std::string text = whole;
        if (i % 2 == 0) text.resize(words[0] % whole.size());
        else text[words[0] % whole.size()] = "{}%#-'\"()[]|.,=~+ \nax0\xC3"[words[1] % 23];
        try {
          ChatTemplate::from_text(text, "t", {{"bos_token", "<s>"}, {"eos_token", "</s>"}}, {.steps = 1'000'000}).render(messages, options);
        } catch (const ConfigError&) {
          ++refused;
        }
      }
    }
    CHECK(number >= 3000);
    CHECK(refused > 1500);
    CHECK(refused < static_cast<int>(number));
  }

  TEST_CASE("white space, undefined names and the date are the caller's") {
    ChatOptions options;
    CHECK(rendered("{{ strftime_now is defined }}{{ tools is none }}{{ documents }}{{ add_generation_prompt }}") == "FalseTrueNoneFalse");
    options.date = "2024-02-29";
    options.add_generation_prompt = true;
    options.variables = {{"x", 1.0}, {"tools", "mine"}};
    CHECK(rendered("{{ strftime_now('%d %b %Y, a %A') }}{{ x }}{{ tools }}{{ add_generation_prompt }}", options) == "29 Feb 2024, a Thursday1.0mineTrue");
    for (const char* date : {"2023-02-29", "2024-2-9", "today", "2024-02-29x", "2024-13-01"}) {
      options.date = date;
      CHECK_THROWS_WITH_AS(rendered("x", options), doctest::Contains(date), ConfigError);
    }
  }

  TEST_CASE("what was reasoned stands under the names that templates read, whichever a message has") {
    const auto chat = ChatTemplate::from_text("{% for m in messages %}[{{ m.thinking }}|{{ m.reasoning_content }}|{{ m|length }}]{% endfor %}", "t");
    const auto messages = nlohmann::ordered_json::parse(R"([{"role": "a", "reasoning": "r"}, {"role": "a", "thinking": "t", "reasoning": "r"},
        {"role": "a", "reasoning_content": "c", "thinking": "t"}, {"role": "a", "thinking": null}, {"role": "a"}])");
    CHECK(chat.render(messages) == "[r|r|4][t|t|4][t|c|3][None||2][||1]");
  }

  TEST_CASE("map and the selecting filters find nothing in none") {
    const auto chat = ChatTemplate::from_text(
        "{{ none|map(attribute='x')|list }}{{ none|selectattr('x')|list }}{{ 0|reject|list }}{{ ''|select|join }}", "t");
    CHECK(chat.render(nlohmann::ordered_json::array()) == "[][][]");
    CHECK_THROWS_WITH_AS(ChatTemplate::from_text("{{ 1|select|list }}", "t").render(nlohmann::ordered_json::array()),
                         doctest::Contains("expected something with items"), ConfigError);
  }

  TEST_CASE("the ranges of {% generation %} are bytes of the text; inside captured text they are not known") {
    const auto marked = ChatTemplate::from_text("é{% generation %}1{% generation %}2{% endgeneration %}{% endgeneration %}{% generation %}{% endgeneration %}"
                                                "{% set x %}{% generation %}3{% endgeneration %}{% endset %}{{ x }}-{% generation %}ü{% endgeneration %}", "t")
                            .render_marked(ordered_json::array());
    CHECK(marked.text == "é123-ü");
    CHECK(marked.assistant == std::vector<troupe::ByteRange>{{3, 4}, {6, 8}});
  }

  TEST_CASE("a model's template is chat_template.jinja, else tokenizer_config.json's, by name where there are several") {
    const troupe::ScratchFolder scratch;
    const std::filesystem::path folder = scratch / "";
    const ordered_json messages = ordered_json::array();
    CHECK_THROWS_WITH_AS(ChatTemplate::from_model_folder(folder),
                         doctest::Contains("chat_template.jinja or `chat_template` in"), ConfigError);
    CHECK_THROWS_WITH_AS(ChatTemplate::from_model_folder(folder), doctest::Contains("plain, r1_zero, chatml, llama3, r1"), ConfigError);
    troupe::spill(scratch / "special_tokens_map.json", R"({"bos_token": "no", "eos_token": {"content": "</s>"}, "additional_special_tokens": ["x"]})");
    troupe::spill(scratch / "tokenizer_config.json", R"({"bos_token": {"content": "<s>", "lstrip": false}, "pad_token": null, "chat_template": "{{ bos_token }}a{{ eos_token }}{{ pad_token }}"})");
    CHECK(ChatTemplate::from_model_folder(folder).render(messages) == "<s>a</s>");
    troupe::spill(scratch / "tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}, {"name": "rag", "template": "{% nosuch %}"}]})");
    ChatOptions options;
    CHECK(ChatTemplate::from_model_folder(folder).render(messages, options) == "d");
    options.tools = ordered_json::array();
    CHECK(ChatTemplate::from_model_folder(folder).render(messages, options) == "t");
    troupe::spill(scratch / "tokenizer_config.json", R"({"chat_template": [{"name": "tool_use", "template": "t"}]})");
    CHECK_THROWS_WITH_AS(ChatTemplate::from_model_folder(folder), doctest::Contains("no template of the name default"), ConfigError);
    troupe::spill(scratch / "tokenizer_config.json", R"({"chat_template": 1})");
    CHECK_THROWS_WITH_AS(ChatTemplate::from_model_folder(folder), doctest::Contains("expected a string or a list of {name, template}, found number"), ConfigError);
    troupe::spill(scratch / "tokenizer_config.json", R"({"chat_template": "a\n{{"})");
    CHECK_THROWS_WITH_AS(ChatTemplate::from_model_folder(folder), doctest::Contains("tokenizer_config.json: chat_template:2: "), ConfigError);
    troupe::spill(scratch / "chat_template.jinja", "file\n");
    CHECK(ChatTemplate::from_model_folder(folder).render(messages) == "file");
  }

  TEST_CASE("built-in prompts write the formats of their names") {
    ChatOptions options;
    options.add_generation_prompt = true;
    const auto text = [&](const char* name) { return ChatTemplate::named(name).render(conversation(), options); };
    CHECK(text("plain") == "Be brief.\nHi<think>\nhm\n</think>Hello2+2");
    CHECK(text("chatml") == "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>Hello<|im_end|>\n"
                            "<|im_start|>user\n2+2<|im_end|>\n<|im_start|>assistant\n");
    CHECK(text("llama3") == "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
                            "<|start_header_id|>assistant<|end_header_id|>\n\n<think>\nhm\n</think>Hello<|eot_id|>"
                            "<|start_header_id|>user<|end_header_id|>\n\n2+2<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
    CHECK(text("r1") == "<｜begin▁of▁sentence｜>Be brief.<｜User｜>Hi<｜Assistant｜>Hello<｜end▁of▁sentence｜><｜User｜>2+2<｜Assistant｜><think>\n");
    CHECK_THROWS_WITH_AS(ChatTemplate::named("alpaca"), "built-in prompt \"alpaca\": expected one of plain, r1_zero, chatml, llama3, r1", ConfigError);
    for (const char* name : {"plain", "r1_zero", "chatml", "llama3", "r1"}) {
      CHECK_THROWS_WITH_AS(ChatTemplate::named(name).render(ordered_json::parse(R"([{"role": "user", "content": null}])")),
                           doctest::Contains("expected a string under `content` of a message"), ConfigError);
      CHECK(ChatTemplate::named(name).holds_special_tokens() == (std::string(name) != "plain" && std::string(name) != "r1_zero"));
    }
  }

  TEST_CASE("r1_zero is Table 1 of DeepSeek-R1, and a question that does not end in a mark gets a full stop") {
    const std::string head =
        "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant first thinks about the reasoning "
        "process in the mind and then provides the user with the answer. The reasoning process and answer are enclosed within <think> </think> and <answer> "
        "</answer> tags, respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. User: ";
    ChatOptions options;
    options.add_generation_prompt = true;
    const auto text = [&](const std::string& question) {
      return ChatTemplate::named("r1_zero").render(ordered_json::array({{{"role", "user"}, {"content", question}}}), options);
    };
    CHECK(text("What is 2+2") == head + "What is 2+2. Assistant:");
    CHECK(text("What?") == head + "What? Assistant:");
    CHECK(text("Say so!") == head + "Say so! Assistant:");
    CHECK(text("Say.") == head + "Say. Assistant:");
    CHECK(text("") == head + ". Assistant:");
  }

  TEST_CASE("the assistant's turns of built-in prompts are marked with the token that ends them") {
    const auto messages = ordered_json::parse(R"([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
                                                  {"role": "assistant", "content": "<think>d</think>e"}])");
    const auto turns = [&](const char* name) {
      const troupe::RenderedChat chat = ChatTemplate::named(name).render_marked(messages);
      std::string all;
      for (const auto& range : chat.assistant) all += chat.text.substr(range.begin, range.end - range.begin) + "|";
      return all;
    };
    CHECK(turns("plain") == "b|<think>d</think>e|");
    CHECK(turns("r1_zero") == "b|<think>d</think>e|");
    CHECK(turns("chatml") == "b<|im_end|>|<think>d</think>e<|im_end|>|");
    CHECK(turns("llama3") == "b<|eot_id|>|<think>d</think>e<|eot_id|>|");
    CHECK(turns("r1") == "b<｜end▁of▁sentence｜>|<think>d</think>e<｜end▁of▁sentence｜>|");
  }
}
