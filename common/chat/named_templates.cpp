#include "common/chat/named_templates.h"

namespace troupe {
namespace {

// A newline behind a tag belongs to the tag.

/// Stands before each of them: the text of a message.
constexpr std::string_view kText = R"({% macro text(message) %}
{%- if message.content is not string %}{{ raise_exception('expected a string under `content` of a message') }}{% endif %}
{{- message.content }}
{%- endmacro %}
)";

constexpr std::string_view kPlain = R"({% for message in messages %}
{% if message.role == 'assistant' %}
{% generation %}{{ text(message) }}{% endgeneration %}
{% else %}
{{ '\n' if loop.previtem is defined and loop.previtem.role != 'assistant' }}{{ text(message) }}
{%- endif %}
{% endfor %})";

constexpr std::string_view kR1Zero = R"({{- 'A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The assistant first '
    'thinks about the reasoning process in the mind and then provides the user with the answer. The reasoning process and answer '
    'are enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think> '
    '<answer> answer here </answer>.' }}
{%- for message in messages %}
{%- if message.role == 'assistant' %}
{{- ' Assistant:' }}{% generation %}{{ text(message) }}{% endgeneration %}
{%- elif message.role == 'user' %}
{{- ' User: ' ~ text(message) }}{{ '.' if text(message)[-1:] not in ['.', '?', '!'] }}
{%- else %}{{ ' ' ~ text(message) }}
{%- endif %}
{%- endfor %}
{{- ' Assistant:' if add_generation_prompt }})";

constexpr std::string_view kChatMl = R"({% for message in messages %}
{{ '<|im_start|>' ~ message.role ~ '\n' }}
{%- if message.role == 'assistant' %}
{% generation %}{{ text(message) ~ '<|im_end|>' }}{% endgeneration %}
{% else %}
{{ text(message) ~ '<|im_end|>' }}
{%- endif %}
{{ '\n' }}
{%- endfor %}
{{ '<|im_start|>assistant\n' if add_generation_prompt }})";

constexpr std::string_view kLlama3 = R"({{ '<|begin_of_text|>' }}
{%- for message in messages %}
{{ '<|start_header_id|>' ~ message.role ~ '<|end_header_id|>\n\n' }}
{%- if message.role == 'assistant' %}
{% generation %}{{ text(message) | trim ~ '<|eot_id|>' }}{% endgeneration %}
{% else %}
{{ text(message) | trim ~ '<|eot_id|>' }}
{%- endif %}
{% endfor %}
{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' if add_generation_prompt }})";

constexpr std::string_view kR1 = R"({{ '<｜begin▁of▁sentence｜>' }}
{%- for message in messages if message.role == 'system' %}
{{ text(message) }}
{%- endfor %}
{% for message in messages if message.role != 'system' %}
{% if message.role == 'assistant' %}
{{ '<｜Assistant｜>' }}{% generation %}
{{ text(message) if loop.last else text(message).split('</think>')[-1] }}{{ '<｜end▁of▁sentence｜>' }}
{%- endgeneration %}
{% elif message.role == 'user' %}
{{ '<｜User｜>' ~ text(message) }}
{%- else %}
{{ raise_exception('expected the role system, user or assistant, found ' ~ message.role) }}
{% endif %}
{% endfor %}
{{ '<｜Assistant｜><think>\n' if add_generation_prompt }})";

std::string with_text(std::string_view prompt) { return std::string(kText) += prompt; }

}  // namespace

const std::vector<NamedTemplate>& named_templates() {
  static const std::vector<NamedTemplate> kTemplates = {
      {"plain", with_text(kPlain), false}, {"r1_zero", with_text(kR1Zero), false}, {"chatml", with_text(kChatMl), true}, {"llama3", with_text(kLlama3), true}, {"r1", with_text(kR1), true}};
  return kTemplates;
}

}  // namespace troupe
