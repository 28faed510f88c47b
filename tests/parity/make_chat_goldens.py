"""Renders chat templates and evaluates expressions with transformers and jinja2, for tests/common/chat.

    python make_chat_goldens.py    (needs transformers 5, jinja2 3.1.6)

writes chat_golden.jsonl (conversations through the templates of ../data/chat; those with an `error` are refused) and
chat_expressions.jsonl (templates of one line each), both beside this script.
"""

import copy
import datetime
import itertools
import json
import pathlib

import transformers.utils.chat_template_utils as chat_utils

HERE = pathlib.Path(__file__).parent
TEMPLATES = HERE.parent / "data" / "chat"
DATE = "2024-07-06"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


class FixedDate(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromisoformat(DATE)


chat_utils.datetime = FixedDate


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def system(content):
    return {"role": "system", "content": content}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a place: \"now\" or later.\n\tUnits <C> & 'F'.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "Münster, 東京 …"},
                "days": {"type": "array", "items": {"type": "integer"}},
                "limit": {"type": ["number", "null"], "default": 1.5e-7, "minimum": -3},
                "exact": {"type": "boolean", "default": False},
            },
            "required": ["place"],
        },
        "return": {"type": "string"},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "", "parameters": {"type": "object", "properties": {}}}}


def call(name, arguments, identity="abcdefghi"):
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


ARGUMENTS = {"place": "Zürich \"Altstadt\"\n", "days": [1, 2], "limit": 10000000000000000.0, "deep": {"a": [], "b": {}, "c": None, "d": True}}
THOUGHT = "<think>\nTwo and two, \"carefully\".\n\nSo 4.\n</think>\n\nThe answer is 4."

CONVERSATIONS = {
    "one": [user("What is 2+2?")],
    "empty": [],
    "empty texts": [system(""), user("")],
    "system": [system("You are terse.\n"), user("  Hi, it's \"me\"  \n")],
    "turns": [user("Hi"), assistant("Hello! "), user("Bye\n\n"), assistant(" 再见 👋🏽")],
    "unicode": [system("Réponds en français — s'il te plaît."), user("\u00a0Ünï\u200bcödé\u3000ﬁ ß İ \\ \t tab \u2028 \x7f \ud7ff")],
    "thoughts": [user("2+2?"), assistant(THOUGHT), user("And 3+3?"), assistant("<think>\nThree twice.\n</think>\n\n6")],
    "reasoning": [user("2+2?"), assistant("4", reasoning_content="\nadd them\n"), user("ok")],
    "tools": [
        system("Use tools."), user("Weather?"), assistant(None, tool_calls=[call("get_weather", ARGUMENTS)]),
        {"role": "tool", "content": "{\"t\": 21.5}", "tool_call_id": "abcdefghi", "name": "get_weather"}, assistant("21.5 °C"), user("Thanks"),
    ],
    "two calls": [
        user("Both?"), assistant("Wait.", tool_calls=[call("get_weather", {"place": "a"}), call("clock", {}, "123456789")]),
        {"role": "tool", "content": "rain", "tool_call_id": "abcdefghi"}, {"role": "tool", "content": "12:00", "tool_call_id": "123456789"},
    ],
    "text arguments": [user("Go"), assistant("", tool_calls=[call("clock", "{\"zone\": \"UTC\"}")])],
    "parts": [system([{"type": "text", "text": "Look."}]), user([{"type": "text", "text": " What is this? "}, {"type": "image"}])],
    "two users": [user("a"), user("b")],
    "odd roles": [{"role": "developer", "content": "x"}, user("y"), {"role": "ipython", "content": {"r": [1, 2.0]}}],
    "no think": [system("Be short. /no_think"), user("2+2?"), assistant("\n4")],
    "many": [m for i in range(6) for m in (user(f"question {i}"), assistant(f"answer {i}"))],
}


def rendered(template, messages, tools, variables):
    try:
        texts, ranges = chat_utils.render_jinja_template(
            conversations=[messages], tools=tools, chat_template=template, return_assistant_tokens_mask=True, **TOKENS, **variables)
    except Exception as error:  # a template may fail in any way
        return {"error": type(error).__name__}
    text = texts[0]
    as_bytes = [[len(text[:begin].encode()), len(text[:end].encode())] for begin, end in ranges[0]]
    return {"text": text, "assistant": as_bytes}


def golden_rows():
    yield {"date": DATE, "tokens": TOKENS, "tools": [WEATHER, CLOCK], "conversations": CONVERSATIONS}
    for path in sorted(TEMPLATES.glob("*.jinja")):
        template = path.read_bytes().decode()
        for (name, messages), tools, add in itertools.product(CONVERSATIONS.items(), [None, [WEATHER, CLOCK]], [False, True]):
            for variables in [{}, {"enable_thinking": False}] if path.stem in ("qwen3", "smollm3") else [{}]:
                variables = {"add_generation_prompt": add, **variables}
                row = {"template": path.stem, "conversation": name, "with_tools": tools is not None, "variables": variables}
                yield row | rendered(template, messages, tools, variables)


VALUES = {
    "t": "Hello, World", "u": " ÄÖü ß 東京👋 ", "e": "", "n": 7, "m": -3, "z": 0, "f": 2.5, "big": 1e16, "tiny": 0.00001, "whole": 3.0,
    "yes": True, "no": False, "nil": None, "l": [3, 1, 2], "w": ["b", "A", "c", "a"], "mixed": [1, "a", None, True, 2.0, {"k": []}],
    "d": {"b": 1, "a": "x", "items": [1], "n": {"deep": [10, 20]}}, "rows": [
        {"name": "x", "on": True, "n": 2}, {"name": "Y", "on": False, "n": 1}, {"name": "z", "n": 3}],
    "lines": "one\n  two\r\n\nthree\n", "q": "it's \"so\"", "csv": "a,b,,c",
}


def expressions():
    operands = ["n", "m", "f", "z", "yes", "t", "l", "nil", "d", "missing"]
    for a, op, b in itertools.product(operands, ["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or", "~"], operands):
        if (a, op) in [("t", "%"), ("m", "**")]:  # formatting and complex numbers are not supported
            continue
        yield f"{a} {op} {b}"
    names = [*VALUES, "missing", "(1, 2)", "(1,)", "()", "[]", "{}", "missing.x", "d.missing", "l[9]"]
    for test in ["defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer", "float", "boolean", "true", "false", "callable"]:
        yield from (f"{a} is {test}" for a in names)
        yield f"t is not {test}"
    for one in ["trim", "tojson", "length", "first", "last", "upper", "lower", "title", "capitalize", "string", "list", "int", "float", "abs", "reverse|list",
                "sort", "items|list", "join", "join('-')", "default('x')", "default('x', true)", "count", "tojson(indent=2)", "safe",
                "tojson(ensure_ascii=true)", "tojson(sort_keys=true)", "tojson(separators=(',', ':'))", "indent", "indent(2, true)", "indent('> ', blank=true)"]:
        yield from (f"{a}|{one}" for a in names)
    for a in ["t", "u", "l", "w", "(1, 2, 3)", "e"]:
        for s in ["0", "-1", "1:", ":-1", "::-1", "1:3", "-2:", ":100", "5:2", "::2", "-1:0:-2", "none:2", "99", "-99", "'x'", "1.5", "true", ":", "-99:99:3", "::0"]:
            yield f"{a}[{s}]"
    methods = ["split()", "split(',')", "split(',', 1)", "rsplit(',', 1)", "split(none, 1)", "rsplit(none, 1)", "split('')", "split(sep='l', maxsplit=2)", "strip()",
               "strip(' Ha')", "lstrip()", "rstrip('d')", "startswith('H')", "startswith(('x', 'H'))", "endswith('d')", "endswith('')", "upper()", "lower()", "title()",
               "capitalize()", "replace('l', 'LL')", "replace('', '-')", "replace('l', '', 1)", "replace('', '-', 2)", "replace('', '-', 0)", "splitlines()",
               "splitlines(true)", "find('o')", "rfind('o')", "find('?')", "index('l')", "count('l')", "count('')", "join(['a', 'b'])", "join('xyz')",
               "removeprefix('Hel')", "removesuffix('ld')", "get('a')", "nothing()", "items()", "keys()", "copy()"]
    yield from (f"{a}.{method}" for a in ["t", "u", "e", "lines", "csv"] for method in methods)
    yield from [line.strip() for line in """
        d.a
        d['a']
        d['items']
        d.items()|list
        d.get('b')
        d.get('c')
        d.get('c', 5)
        d.keys()|list
        d.values()|list
        d.n.deep[1]
        d['n']['deep'][-1]
        d.n.deep.0
        d.a.b
        d.a.b.c
        missing.x
        missing['x']
        missing()
        none.x
        none.x.y
        n.x
        n()
        t()
        l.append(4)
        d.update({})
        l.index(1)
        l.index(9)
        l.count(3)
        {'b': 1, 'a': 2}|dictsort
        {'b': 1, 'a': 2}|dictsort(by='value')
        {'b': 1, 'a': 2}|dictsort(reverse=true)
        rows|map(attribute='name')|list
        rows|map(attribute='on', default='?')|list
        rows|map(attribute='missing')|list
        rows|map(attribute='n')|sort|list
        rows|selectattr('on')|map(attribute='name')|join
        rows|rejectattr('on')|map(attribute='name')|join
        rows|selectattr('on', 'defined')|list|length
        rows|selectattr('n', '>', 1)|map(attribute='name')|list
        rows|selectattr('name', 'equalto', 'x')|list
        rows|selectattr('name', 'in', ['x', 'z'])|map(attribute='n')|list
        rows|rejectattr('n', 'odd')|list|length
        rows|sort(attribute='n')|map(attribute='name')|join
        rows|sort(attribute='name')|map(attribute='name')|join
        rows|sort(attribute='name', case_sensitive=true)|map(attribute='name')|join
        rows|sort(reverse=true, attribute='n')|map(attribute='name')|join
        rows|join(', ', attribute='name')
        w|sort
        w|sort(case_sensitive=true)
        w|sort(true)
        w|unique|list
        w|unique(true)|list
        w|map('upper')|list
        w|map('replace', 'a', 'x')|list
        w|select('in', ['a', 'b'])|list
        w|reject('equalto', 'b')|list
        mixed|select('string')|list
        mixed|select|list
        mixed|reject|list
        mixed|map('string')|list
        mixed|string
        mixed|tojson
        mixed|sort
        [[1, 2], [0]]|map('first')|list
        l|sort(reverse=true)
        l|join(n)
        'abc'|list
        'a' 'b' "c"
        'a\\tb\\x41\\u00e9\\U0001F600\\\\ \\q \\101'
        "it's"
        'x'|trim('x')
        '--x-'|trim('-')
        ' 42 '|int
        '4_2'|length
        '3.99'|int
        '-3.99'|int
        'x'|int
        'x'|int(5)
        'x'|int(default=none)
        '1e3'|int
        '1e3'|float
        'x'|float(1.5)
        3.99|int
        -3.99|int
        true|int
        none|int
        1 + 2 * 3 ** 2
        2 ** 3 ** 2
        -2 ** 2
        2 ** -1
        7 // -2
        -7 // 2
        7 % -3
        -7 % 3
        7.5 // 2
        -7.5 % 2
        7.5 % -2
        -7.5 // 2
        1 / 3
        6 / 3
        1 / 0
        1 % 0
        1.0 // 0
        1e300 * 1e10
        0.1 + 0.2
        100000.0
        1e15
        1e16
        123456789012345680.0
        0.0001
        0.00001
        1.5e-9
        -0.0
        5e-324
        1e22 - 1e22
        9223372036854775807
        10_000
        1_0.5
        0
        -n
        +m
        --n
        - -n
        not n
        not not n
        not n == 8
        not missing
        1 < 2 < 3
        1 < 3 < 2
        1 == 1.0 == true
        1 if yes else 2
        1 if no else 2
        1 if no
        (1 if no) is defined
        1 if no else 2 if no else 3
        'a' if yes and not no or missing else 'b'
        n and t
        z or e or 'last'
        z and t
        nil or d
        n in l
        1 in l
        'a' in d
        'ell' in t
        1 in t
        'a' in missing
        'a' not in t
        not 'a' in t
        [1] in [[1], 2]
        (1, 2)
        1, 2
        1,
        (1, 2) == [1, 2]
        (1, 2) + (3,)
        [1] + [2]
        [1] + (2,)
        [1] * 2
        2 * 'ab'
        'ab' * -1
        [1, 2] < [1, 3]
        'a' < 'b'
        'é' > 'z'
        {'a': 1} == {'a': 1.0}
        {'a': 1, 'b': 2} == {'b': 2, 'a': 1}
        {'a': [1, (2, 'x')]}
        {"k": 'it\\'s', 'q': "a\\"b", 'n': 'x\\ny'}
        ['\\u200b', '\\u3000', '\\x7f', 'é', '\\U0001F600']
        [none, true, 1.0, missing]
        []
        {}
        [1, 2,]
        {'a': 1,}
        range(3)|list
        range(1, 4)|list
        range(5, 0, -2)|list
        range(3)|length
        range(3, 0)|list
        range(1, 2, 0)
        range(1000000)
        dict(a=1, b='x')
        dict({'a': 1}, b=2)
        namespace(a=1).a
        namespace(a=1).b
        namespace({'a': 2}, b=3).a
        n is odd
        n is even
        n is divisibleby 7
        n is divisibleby(3)
        n is eq 7
        n is equalto 8
        n is gt 3 and n is lt 9
        n is in [7]
        n is not in [7]
        t is in 'x'
        n is none or t is string
        n is defined and n
        missing is defined or 'x'
        not missing is defined
        n is ge(7)
        t|upper is string
        t|length is gt 3
        t|length > 3 and t|first == 'H'
        (t|length + 1) * 2
        -t|length
        t ~ n ~ f ~ nil ~ yes ~ l ~ missing
        'a' ~ 1 + 2
        t + n
        t + nil
        t + missing
        n + missing
        missing + missing
        missing ~ 'x'
        missing == missing
        missing == nil
        missing|length
        missing|first
        missing|list
        missing|join
        missing|upper
        missing|items|list
        missing|tojson
        nil|length
        nil|join
        nil|upper
        l|upper
        n|length
        n|list
        strftime_now('%d %B %Y')
        strftime_now('%Y-%m-%d %H:%M:%S %a %A %b %j')
        raise_exception('no')
        t.upper().lower().title()
        t.split(', ')[1][0]
        t[:5].upper() + '!' * 3
        'x, y'.split(', ')|map('upper')|join('+')
        'ŒUVRE ﬀ ΑΠΣΑ ǅ'.lower()
        'ǆ ß'.title() ~ 'ßx'.capitalize() ~ 'ßx'|title
        'straße'.upper()
        "they're bill's 3rd-class x_y"|title
        "they're bill's 3rd-class x_y".title()
        'hELLO wORLD'.capitalize()
        'a-b (c) [d] {e} <f> g'|title
        loop
        caller
        """.splitlines() if line.strip()]


STATEMENTS = [
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in [] %}a{% else %}none{% endfor %}", "{% for x in missing %}a{% else %}none{% endfor %}",
    "{% for x in l if x > 5 %}a{% else %}none{% endfor %}", "{% for x in l if x > 1 %}{{ loop.index }}:{{ x }} of {{ loop.length }} {% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for c in u %}[{{ c }}]{% endfor %}",
    "{% for a, (b, c) in [[1, [2, 3]], [4, 'xy']] %}{{ a }}{{ b }}{{ c }} {% endfor %}", "{% for a, b in [[1]] %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}",
    "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% for x in n %}{% endfor %}", "{% for x in nil %}{% endfor %}",
    "{% for x in l %}{% for y in w %}{{ loop.depth }}{{ loop.index }}{% endfor %}{{ loop.depth0 }}{{ loop.index }} {% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% break %}{% else %}none{% endfor %}",
    "{% for x in l %}{% if loop.last %}{% break %}{% endif %}{{ x }}{% else %}none{% endfor %}", "{% for x in l %}{% continue %}{% else %}none{% endfor %}",
    "{% set x = 0 %}{% for i in l %}{{ x }}{% set x = i %}{{ x }}{% endfor %}{{ x }}", "{% for i in l %}{% set y = i %}{% endfor %}{{ y }}",
    "{% set ns = namespace(c=0) %}{% for i in l %}{% set ns.c = ns.c + i %}{% endfor %}{{ ns.c }}", "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b is defined }}",
    "{% set d.a = 1 %}", "{% set x.y = 1 %}", "{% set a, b = 1, 2 %}{{ b }}{{ a }}", "{% set a, b = 1 %}", "{% set a = 1, 2 %}{{ a }}", "{% set (a, b) = 'xy' %}{{ a }}{{ b }}",
    "{% set x %}a{{ n }}b{% endset %}[{{ x }}]{{ x is string }}", "{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y is defined }}",
    "{% if yes %}{% set x = 1 %}{% endif %}{{ x }}", "{% if no %}{% set x = 1 %}{% endif %}{{ x is defined }}", "{% if no %}a{% elif n == 7 %}b{% elif yes %}c{% else %}d{% endif %}",
    "{% if e %}a{% elif z %}b{% else %}d{% endif %}", "{% if missing %}a{% endif %}.", "{% if l and d %}a{% endif %}", "{% if not l[5] %}a{% endif %}",
    "{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 5) }} {{ m(b=3, a=9) }} {{ m() }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{% endmacro %}{{ m(x=2) }}", "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(none) }}", "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}",
    "{% macro f(i) %}{{ i }}{% if i > 0 %}{{ f(i - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% macro m() %} x {% endmacro %}[{{ m()|trim }}]{{ m() is string }}",
    "{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m() %}{{ loop }}{% endmacro %}{% for i in l %}{{ m() }}{% endfor %}",
    "{% macro m(a) %}{% set a = a + 1 %}{{ a }}{% endmacro %}{% set a = 5 %}{{ m(1) }}{{ a }}", "{% set m = 1 %}{{ m() }}",
    "{% generation %}x{% set y = 1 %}{% endgeneration %}{{ y is defined }}", "a{# b #}c", "a {#- b -#} c", "a\n{# b #}\nc", "a\n  {# b #}  \nc",
    "{% raw %}{{ x }}{% endraw %}", "a {%- raw -%}  {{ x }}  {%- endraw -%} b", "{% raw %}\nx\n  {% endraw %}\ny", "  {% raw %}  {% endraw %}  ",
    "  {% if yes %}\n  a\n  {% endif %}\nb\n", "x  {% if yes %}\n  a\n  {% endif %}  \nb", "\n\n{% if yes %}\n\na{% endif %}\n\n", "  {%+ if yes %}a{%+ endif +%}\nb", "a\n\n  {%- if yes -%}\n\n  b  {%- endif -%}\n c",
    "{{ n }}\n{{ n }}\n", "{{ n -}}\n  {{- n }}", "  {{ n }}  ", "  {{- n -}}  ", "a\r\nb\rc\n\n", "{{ '\r\n' }}", "{{\nn\n}}", "{{- n }} {{+ n }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a':{}}}}", "}} %} #}", "{ {", "{{ '}}' }}",
    "{{ '{%' }}", "{% set x = '%}' %}{{ x }}", "{{ n", "{{ n }", "{% if %}", "{% if yes %}", "{% endif %}", "{% else %}", "{% for x l %}{% endfor %}", "{% for x in l %}", "{% unknown %}", "{# open", "{{ }}", "{{ n n }}",
    "{{ 'open }}", "{{ (n }}", "{{ n) }}", "{{ [1, 2 }}", "{{ {'a' 1} }}", "{{ n | nofilter }}", "{{ n is notest }}", "{{ n. }}", "{{ n.1.2 }}", "{{ l[1:2:1:1] }}", "{{ & }}", "{{ 1 +* 2 }}", "{{ not }}", "{{ 'a' 1 }}",
    "{% set %}", "{% set x = %}", "{% set 1 = 2 %}", "{% macro %}{% endmacro %}", "{% macro m(1) %}{% endmacro %}", "{% endfor %}", "{% for x in l %}{% endif %}", "{% break %}", "{% if yes %}{% else %}{% elif %}{% endif %}", "{{ f(a=1, 2) }}",
    "{{ 'x' if yes else }}", "{{ n is }}", "{{ n | }}", "{%if yes%}a{%endif%}", "{%-if yes-%} a {%-endif-%}", "{{n}}{{-n-}}{{n}}", "{{ 07 }}", "{{ 1__0 }}", "{{ 1.e }}", "{{ 1.5.2 }}", "{{ true.x }}", "{{ True and None }}", "{% set true = 1 %}",
]


def expression_rows():
    seen = set()
    for template in [*("{{ " + text + " }}" for text in expressions()), *STATEMENTS]:
        if template in seen:
            continue
        seen.add(template)
        row = {"template": template}
        try:
            text = chat_utils._compile_jinja_template(template).render(**copy.deepcopy(VALUES))
            text.encode()
            yield row | {"text": text}
        except Exception as error:  # a template may fail in any way
            yield row | {"error": type(error).__name__}


def write(name, rows):
    with open(HERE / name, "w", encoding="utf-8", newline="\n") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


write("chat_golden.jsonl", golden_rows())
write("chat_expressions.jsonl", itertools.chain([{"values": VALUES}], expression_rows()))
