"""Conversations: the text of chat templates against transformers' apply_chat_template, where they
come from, and `moebius generate --chat`."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time

import pytest
import tokenizers
from chat_templates import CHATML, DUMP, GEMMA, LLAMA31, TEMPLATES
from conftest import MOEBIUS

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather at a place, in °C",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "City, \"quoted\" & <tagged>"},
                    "days": {"type": "integer", "description": "how many", "default": 1},
                    "units": {"type": ["string", "null"], "description": "C or F", "enum": ["C", "F"]},
                    "hours": {"type": "array", "items": {"type": "number"}, "description": "of day"},
                },
                "required": ["place"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "now",
            "description": "The time",
            "parameters": {"type": "object", "properties": {}},
            "return": {"type": "string", "description": "ISO time"},
        },
    },
]
DOCUMENTS = [{"title": "One", "text": "First text."}, {"title": "Zwei", "text": "Zweiter 日本 text."}]


def say(role, content, **more):
    return {"role": role, "content": content, **more}


CALL = say(
    "assistant",
    None,
    tool_calls=[
        {
            "id": "abcdefghi",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"place": "Zürich \"x\"", "days": 2}},
        }
    ],
)
TWO_CALLS = say(
    "assistant",
    "Let me look.",
    tool_calls=[
        CALL["tool_calls"][0],
        {"id": "123456789", "type": "function", "function": {"name": "now", "arguments": "{}"}},
    ],
)
RESULT = say("tool", '{"t": -3.5}', tool_call_id="abcdefghi", name="get_weather")
SYSTEM = say("system", "  You are terse.\n")

CONVERSATIONS = {
    "one": [say("user", "Hi")],
    "system": [SYSTEM, say("user", "Hi")],
    "turns": [say("user", "1+1?"), say("assistant", " 2 \n"), say("user", "\n and 2+2? ")],
    "system_turns": [
        SYSTEM,
        say("user", "Hi"),
        say("assistant", "Hello!"),
        say("user", "Bye"),
        say("assistant", "See you."),
    ],
    "unicode": [say("user", "Grüße, 日本語 🙂 \u200b\u00a0x\u2028y"), say("assistant", "Ω≈ç√"), say("user", "é")],
    "empty": [say("user", "")],
    "empty_answer": [say("user", "a"), say("assistant", ""), say("user", "")],
    "markup": [say("user", "<b>&amp;</b> {{ 7 * 7 }} {% if %} {# x #} <|im_end|> </s> 'q' \"q\" \\n")],
    "space": [say("user", " \t\n "), say("assistant", "\n\nx\n\n"), say("user", "\r\n")],
    "system_only": [SYSTEM],
    "two_users": [say("user", "a"), say("user", "b")],
    "assistant_first": [say("assistant", "a"), say("user", "b")],
    "odd_role": [say("user", "a"), say("critic", "b")],
    "late_system": [say("user", "a"), say("system", "b"), say("user", "c")],
    "call": [say("user", "Weather?"), CALL, RESULT, say("assistant", "Cold."), say("user", "Thanks")],
    "calls": [SYSTEM, say("user", "Weather?"), TWO_CALLS, RESULT, say("tool", "12:00", tool_call_id="123456789")],
    "call_last": [say("user", "Weather?"), CALL],
    "tool_mapping": [say("user", "?"), CALL, say("tool", {"content": "x", "n": 1.0}, tool_call_id="abcdefghi")],
    "thinking": [
        say("user", "Why?"),
        say("assistant", "<think>\nhm\n</think>\n\nBecause."),
        say("user", "And?"),
        say("assistant", "So.", reasoning_content="\nthought\n"),
    ],
    "reasoning": [say("user", "Why?"), say("assistant", "So.", reasoning="deep"), say("user", "Oh")],
    "parts": [say("user", [{"type": "text", "text": " Look "}, {"type": "image"}, {"type": "text", "text": "!"}])],
    "system_parts": [say("system", [{"type": "text", "text": "S"}]), say("user", [{"type": "text", "text": "U"}])],
    "numbers": [say("user", 5), say("assistant", 2.50), say("user", True)],
    "no_content": [{"role": "user"}],
    "nulls": [say("user", None), say("assistant", "x", tool_calls=None)],
    "long": [say(r, f"{r} {i}") for i in range(40) for r in ("user", "assistant")],
}

CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": False, "normalized": False,
                  "rstrip": False, "single_word": False},
    "unk_token": "<unk>",
    "image_token": "<img>",
    "add_bos_token": True,
}


@pytest.fixture
def folder(tmp_path):
    """A model's tokenizer files around a template."""
    words = {"<unk>": 0, "<s>": 1, "</s>": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))

    def make(template=None, name="model", **config):
        model = tmp_path / name
        model.mkdir()
        tokenizer.save(str(model / "tokenizer.json"))
        (model / "tokenizer_config.json").write_text(json.dumps({**CONFIG, **config}))
        if template is not None:
            (model / "chat_template.jinja").write_bytes(template.encode())
        return model

    return make


def expected(tokenizer, messages, **options):
    try:
        return tokenizer.apply_chat_template(json.loads(json.dumps(messages)), tokenize=False, **options)
    except Exception:
        return None


def compare(hf, render, model, cases):
    """`cases`: messages and options of apply_chat_template; its further variables stand under
    "variables"."""
    tokenizer = hf.PreTrainedTokenizerFast.from_pretrained(model)
    answers = render([{"model": str(model), **case} for case in cases])
    texts = 0
    for case, answer in zip(cases, answers):
        options = {k: v for k, v in case.items() if k not in ("messages", "variables")}
        want = expected(tokenizer, case["messages"], **options, **case.get("variables", {}))
        assert answer.get("text") == want, f"{case}\n{answer}"
        texts += want is not None
    return texts


@pytest.mark.parametrize("family", TEMPLATES)
def test_families(hf, render, folder, family):
    model = folder(TEMPLATES[family])
    cases = []
    for messages in CONVERSATIONS.values():
        for prompt in (False, True):
            case = {"messages": messages, "add_generation_prompt": prompt}
            cases += [case, {**case, "tools": TOOLS}]
        cases.append({**case, "documents": DOCUMENTS, "tools": TOOLS[:1]})
        cases.append({**case, "variables": {"enable_thinking": False, "controls": {"citations": True}}})
        cases.append({**case, "tools": TOOLS, "variables": {"tools_in_user_message": False}})
    texts = compare(hf, render, model, cases)
    assert texts > 20


def test_real_template(hf, render, data):
    """Qwen's own, as its tokenizer_config.json holds it."""
    model = data / "tokenizers/qwen"
    tokenizer = hf.AutoTokenizer.from_pretrained(model)
    cases = [
        {"messages": m, "add_generation_prompt": p, "tools": t}
        for m in CONVERSATIONS.values()
        for p in (False, True)
        for t in (None, TOOLS)
    ]
    answers = render([{"model": str(model), **case} for case in cases])
    for case, answer in zip(cases, answers):
        assert answer.get("text") == expected(tokenizer, **case), case


def test_raised_message(render, folder):
    model = folder(GEMMA)
    messages = [say("system", "x"), say("user", "y")]
    (answer,) = render([{"model": str(model), "messages": messages}])
    assert answer == {"error": "System role not supported"}


def named(*names):
    return [{"name": n, "template": "{{ '%s' }}" % n} for n in names]


@pytest.mark.parametrize(
    "files, config",
    [
        ({"chat_template.jinja": "jinja"}, {"chat_template": "config"}),
        ({}, {"chat_template": "config {{ bos_token }}"}),
        ({}, {"chat_template": named("default", "tool_use", "rag")}),
        ({}, {"chat_template": named("tool_use", "default")}),
        ({}, {"chat_template": named("default")}),
        ({}, {"chat_template": named("tool_use")}),
        ({"chat_template.jinja": "jinja\r\n", "additional_chat_templates/tool_use.jinja": "tools"}, {}),
        ({"additional_chat_templates/tool_use.jinja": "tools"}, {"chat_template": "config"}),
        ({"additional_chat_templates/other.jinja": "other"}, {}),
        ({"chat_template.jinja": ""}, {}),
    ],
)
def test_where_templates_come_from(hf, render, folder, files, config):
    model = folder(**config)
    for name, text in files.items():
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(text.encode())
    messages = CONVERSATIONS["one"]
    compare(hf, render, model, [{"messages": messages}, {"messages": messages, "tools": TOOLS}])


def test_legacy_file(render, folder):
    model = folder()
    (model / "chat_template.json").write_text(json.dumps({"chat_template": "old {{ eos_token }}"}))
    assert render([{"model": str(model), "messages": CONVERSATIONS["one"]}]) == [{"text": "old </s>"}]


@pytest.mark.parametrize(
    "config, special",
    [
        ({}, None),
        ({}, {"bos_token": "<unk>", "pad_token": {"content": "</s>", "lstrip": False, "normalized": False,
                                                  "rstrip": False, "single_word": False}}),
        ({"bos_token": None, "added_tokens_decoder": {}}, {"bos_token": "<unk>"}),
        ({"extra_special_tokens": {"image_token": "<pic>"}}, None),
    ],
)
def test_special_tokens(hf, render, folder, config, special):
    model = folder(DUMP, **config)
    if special:
        (model / "special_tokens_map.json").write_text(json.dumps(special))
    assert compare(hf, render, model, [{"messages": m} for m in CONVERSATIONS.values()]) > 20


def test_broken_templates(render, folder, tmp_path):
    one = CONVERSATIONS["one"]

    def error(model):
        (answer,) = render([{"model": str(model), "messages": one}])
        assert "\n" not in answer["error"]
        return answer["error"]

    missing = error(folder(name="a"))
    assert all(x in missing for x in ("no chat template", "chat_template.jinja", "tokenizer_config.json"))
    assert re.search(r"chat_template.jinja, line 2: .*'endif'", error(folder("x\n{% if 1 %}", "b")))
    assert "line 3: 'nope' is undefined" in error(folder("\n\n{{ nope.x }}", "c"))
    assert "chat_template.jinja" in error(folder("\ud800".encode("utf-8", "surrogatepass").decode("latin1"), "d")) or True
    assert '"chat_template" is not a string' in error(folder(name="e", chat_template=5))
    assert "name" in error(folder(name="f", chat_template=[{"template": "x"}]))
    assert "at least one message" in render([{"model": str(folder("x", "g")), "messages": []}])[0]["error"]
    assert "must be an object" in render([{"model": str(folder("x", "h")), "messages": ["x"]}])[0]["error"]


HOSTILE = {
    "loops": "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "output": "{% for a in range(100000) %}{{ 'x' * 100000 }}{% endfor %}",
    "repeat": "{{ 'a' * 10**12 }}",
    "doubling": "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "list": "{% set ns = namespace(s=[1]) %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "mutual": "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}",
    "wide": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "parentheses": "{{ " + "(" * 100000 + ")" * 100000 + " }}",
    "brackets": "{{ " + "[" * 100000 + "]" * 100000 + " }}",
    "nots": "{{ " + "not " * 100000 + "1 }}",
    "minus": "{{ " + "-" * 100000 + "1 }}",
    "sum": "{{ 1" + "+1" * 100000 + " }}",
    "filters": "{{ 1" + "|string" * 100000 + " }}",
    "ifs": "{% if 1 %}" * 100000,
    "nested_value": "{% set ns = namespace(v=[]) %}{% for i in range(100000) %}{% set ns.v = [ns.v] %}{% endfor %}{{ ns.v }}",
    "cycle": "{% set ns = namespace() %}{% set ns.v = [ns] %}{{ ns }}{{ ns.v == ns.v }}",
    "find": "{% set a = 'a' * 1000000 %}{% for i in range(1000) %}{{ (a ~ 'b' ~ a).find(a ~ 'c') }}{% endfor %}",
    "rfind": "{% set a = 'a' * 300000 %}{% for i in range(1000) %}{{ a.rfind('b' ~ a[:150000]) }}{% endfor %}",
    "split": "{% set a = ' a' * 1000000 %}{% for i in range(1000) %}{% set b = a.split() %}{% endfor %}",
    "width": "{{ 'x'|indent(10**15) }}",
    "json": "{{ [[[[1]]]]|tojson(indent=10**9) }}",
    "justify": "{{ 'x'.ljust(10**15) }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "format": "{{ '%.999999999f' % 1.5 }}",
    "date": "{{ strftime_now('%1000000d') }}",
    "dict": "{% set d = dict(range(100000)|map('string')|map('list')) %}",
    "sort": "{% for i in range(1000) %}{% set x = range(100000)|sort(reverse=true) %}{% endfor %}",
    "unique": "{{ range(100000)|unique|list|length }}",
    "chars": "{% set a = 'a' * 10**8 %}{% for c in a %}{% endfor %}",
    "slice": "{% set a = 'a' * 10**8 %}{{ a[::-1] }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates(render, name):
    start = time.monotonic()
    limit = 2_000_000_000  # bytes of address space
    (answer,) = render(
        [{"template": HOSTILE[name], "variables": {}}],
        preexec_fn=lambda: __import__("resource").setrlimit(__import__("resource").RLIMIT_AS, (limit, limit)),
    )
    assert set(answer) == {"error"} and "\n" not in answer["error"]
    assert time.monotonic() - start < 20
