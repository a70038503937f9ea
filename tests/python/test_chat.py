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
                    "units": {"type": ["string", "integer"], "description": "C or F", "enum": ["C", "F"]},
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


def compare(hf, text_probe, model, cases):
    """`cases`: messages and options of apply_chat_template; its further variables stand under
    "variables"."""
    tokenizer = hf.PreTrainedTokenizerFast.from_pretrained(model)
    answers = text_probe([{"model": str(model), **case} for case in cases])
    texts = 0
    for case, answer in zip(cases, answers):
        options = {k: v for k, v in case.items() if k not in ("messages", "variables")}
        want = expected(tokenizer, case["messages"], **options, **case.get("variables", {}))
        assert answer.get("text") == want, f"{case}\n{answer}"
        texts += want is not None
    return texts


@pytest.mark.parametrize("family", TEMPLATES)
def test_families(hf, text_probe, folder, family):
    model = folder(TEMPLATES[family])
    cases = []
    for messages in CONVERSATIONS.values():
        for prompt in (False, True):
            case = {"messages": messages, "add_generation_prompt": prompt}
            cases += [case, {**case, "tools": TOOLS}]
        cases.append({**case, "documents": DOCUMENTS, "tools": TOOLS[:1]})
        cases.append({**case, "variables": {"enable_thinking": False, "controls": {"citations": True}}})
        cases.append({**case, "tools": TOOLS, "variables": {"tools_in_user_message": False}})
    texts = compare(hf, text_probe, model, cases)
    assert texts > 20


def test_real_template(hf, text_probe, data):
    """Qwen's own, as its tokenizer_config.json holds it."""
    model = data / "tokenizers/qwen"
    tokenizer = hf.AutoTokenizer.from_pretrained(model)
    cases = [
        {"messages": m, "add_generation_prompt": p, "tools": t}
        for m in CONVERSATIONS.values()
        for p in (False, True)
        for t in (None, TOOLS)
    ]
    answers = text_probe([{"model": str(model), **case} for case in cases])
    for case, answer in zip(cases, answers):
        assert answer.get("text") == expected(tokenizer, **case), case


def test_raised_message(text_probe, folder):
    model = folder(GEMMA)
    messages = [say("system", "x"), say("user", "y")]
    (answer,) = text_probe([{"model": str(model), "messages": messages}])
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
def test_where_templates_come_from(hf, text_probe, folder, files, config):
    model = folder(**config)
    for name, text in files.items():
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(text.encode())
    messages = CONVERSATIONS["one"]
    compare(hf, text_probe, model, [{"messages": messages}, {"messages": messages, "tools": TOOLS}])


def test_legacy_file(text_probe, folder):
    model = folder()
    (model / "chat_template.json").write_text(json.dumps({"chat_template": "old {{ eos_token }}"}))
    assert text_probe([{"model": str(model), "messages": CONVERSATIONS["one"]}]) == [{"text": "old </s>"}]


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
def test_special_tokens(hf, text_probe, folder, config, special):
    model = folder(DUMP, **config)
    if special:
        (model / "special_tokens_map.json").write_text(json.dumps(special))
    assert compare(hf, text_probe, model, [{"messages": m} for m in CONVERSATIONS.values()]) > 20


def test_broken_templates(text_probe, folder, tmp_path):
    one = CONVERSATIONS["one"]

    def error(model):
        (answer,) = text_probe([{"model": str(model), "messages": one}])
        assert "\n" not in answer["error"]
        return answer["error"]

    missing = error(folder(name="a"))
    assert all(x in missing for x in ("no chat template", "chat_template.jinja", "tokenizer_config.json"))
    assert re.search(r"chat_template.jinja, line 2: .*'endif'", error(folder("x\n{% if 1 %}", "b")))
    assert "line 3: 'nope' is undefined" in error(folder("\n\n{{ nope.x }}", "c"))
    binary = folder("x", "d")
    (binary / "chat_template.jinja").write_bytes(b"ok\n\xff")
    assert "chat_template.jinja: not UTF-8 at byte 3" in error(binary)
    assert '"chat_template" is not a string' in error(folder(name="e", chat_template=5))
    assert "name" in error(folder(name="f", chat_template=[{"template": "x"}]))
    assert "at least one message" in text_probe([{"model": str(folder("x", "g")), "messages": []}])[0]["error"]
    assert "must be an object" in text_probe([{"model": str(folder("x", "h")), "messages": ["x"]}])[0]["error"]


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


@pytest.mark.short_cases(10)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_templates(text_probe, name):
    start = time.monotonic()
    limit = 2_000_000_000  # bytes of address space
    (answer,) = text_probe(
        [{"template": HOSTILE[name], "variables": {}}],
        preexec_fn=lambda: __import__("resource").setrlimit(__import__("resource").RLIMIT_AS, (limit, limit)),
    )
    assert set(answer) == {"error"} and "\n" not in answer["error"]
    assert time.monotonic() - start < 20


# ---- moebius generate --chat ------------------------------------------------------------------

STORY = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n"
    "{% elif m.role == 'user' %}Once upon a time there was {{ m.content }}.{% else %}{{ m.content }}\n"
    "{% endif %}{% endfor %}"
)


@pytest.fixture
def story_teller(stories, tmp_path):
    """The real model with a template that suits it."""

    def make(template=STORY, **config):
        model = tmp_path / f"stories{len(list(tmp_path.iterdir()))}"
        model.mkdir()
        for file in stories.iterdir():
            (model / file.name).symlink_to(file)
        (model / "chat_template.jinja").write_text(template)
        (model / "tokenizer_config.json").unlink()
        old = json.loads((stories / "tokenizer_config.json").read_text())
        (model / "tokenizer_config.json").write_text(json.dumps({**old, **config}))
        return model

    return make


class Teller:
    """The same model in transformers, greedy."""

    def __init__(self, hf, model, max_tokens):
        self.tokenizer = hf.AutoTokenizer.from_pretrained(model)
        self.model = hf.AutoModelForCausalLM.from_pretrained(model).eval()
        self.max_tokens = max_tokens

    def answer(self, messages):
        """Ids of the conversation, and what the model says to it."""
        ids = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )["input_ids"]
        out = self.model.generate(ids, max_new_tokens=self.max_tokens, do_sample=False)[0].tolist()
        whole = self.tokenizer.decode(out, skip_special_tokens=True)
        before = self.tokenizer.decode(ids[0].tolist(), skip_special_tokens=True)
        assert whole.startswith(before)
        return ids[0].tolist(), whole[len(before) :]

    def converse(self, lines, system=None):
        messages = [say("system", system)] if system else []
        answers = []
        for line in lines:
            messages.append(say("user", line))
            answers.append(self.answer(messages)[1])
            messages.append(say("assistant", answers[-1]))
        return answers


def test_one_message(moebius, hf, story_teller):
    model = story_teller()
    teller = Teller(hf, model, 30)
    for system in (None, "A story:"):
        messages = ([say("system", system)] if system else []) + [say("user", "a cat")]
        ids, text = teller.answer(messages)
        args = ["--chat", "--prompt", "a cat", "--max-tokens", 30] + (["--system", system] if system else [])
        out = moebius("generate", model, *args, "--json", check=True).stdout
        got = json.loads(out)
        assert (got["text"], got["prompt_tokens"], got["prompt"]) == (text, len(ids), "a cat")
        assert ids.count(1) == 1, "one BOS, the template's"
        assert moebius("generate", model, *args, check=True).stdout.decode() == text


def test_prompts_file(moebius, hf, story_teller, tmp_path):
    model = story_teller()
    teller = Teller(hf, model, 12)
    (tmp_path / "prompts").write_text("a cat\na big dog\n")
    args = ["generate", model, "--chat", "--prompts", tmp_path / "prompts", "--max-tokens", 12]
    want = [teller.converse([line])[0] for line in ("a cat", "a big dog")]
    results = json.loads(moebius(*args, "--json", check=True).stdout)["results"]
    assert [r["text"] for r in results] == want
    assert moebius(*args, check=True).stdout.decode() == "".join(w + "\n" for w in want)


def test_conversation(moebius, hf, story_teller):
    model = story_teller()
    lines = ["a cat", "a dog who was sad", "Tim"]
    want = Teller(hf, model, 25).converse(lines, "Tales.")
    args = ["generate", model, "--chat", "--max-tokens", 25, "--system", "Tales."]
    text = "\n".join([lines[0], "", *lines[1:], "/reset", *lines[:2], "/exit", "never said"])
    out = moebius(*args, input=text.encode(), check=True)
    assert out.stdout.decode() == "".join(w + "\n" for w in [*want, *want[:2]])
    assert out.stderr == b""
    results = json.loads(moebius(*args, "--json", input="\n".join(lines).encode(), check=True).stdout)
    assert [r["text"] for r in results["results"]] == want
    assert [r["prompt"] for r in results["results"]] == lines


@pytest.mark.parametrize("end, mark", [("\r\n", ""), ("\r\n", "\ufeff"), ("\n", "\ufeff")])
def test_line_ends_and_byte_order_mark(moebius, story_teller, tmp_path, end, mark):
    """What Windows writes around lines is no part of a message or prompt, and hides no command."""
    model = story_teller()
    lines = ["a cat", "/reset", "a dog\rand a bird", "", "/exit", "never said"]

    def run(end, mark):
        text = (mark + "".join(line + end for line in lines)).encode()
        (tmp_path / "prompts").write_bytes(text)
        args = ["generate", model, "--max-tokens", 4, "--json"]
        return [
            json.loads(done.stdout)["results"]
            for done in (
                moebius(*args, "--chat", input=text, check=True),
                moebius(*args, "--prompts", tmp_path / "prompts", check=True),
            )
        ]

    def without_times(results):
        return [{k: v for k, v in each.items() if not k.endswith("seconds")} for each in results]

    for found, expected in zip(run(end, mark), run("\n", "")):
        assert without_times(found) == without_times(expected)
    assert [each["prompt"] for each in run(end, mark)[0]] == ["a cat", "a dog\rand a bird"]
    assert [each["prompt"] for each in run(end, mark)[1]] == lines


def test_template_that_rewrites_history(moebius, hf, story_teller):
    """What the cache holds of an answer is of no use if the template tells it otherwise."""
    model = story_teller(STORY.replace("{{ m.content }}\n{% endif", "{{ m.content[:9]|upper }}\n{% endif"))
    lines = ["a cat", "a dog", "a bird"]
    want = Teller(hf, model, 20).converse(lines)
    args = ["generate", model, "--chat", "--max-tokens", 20, "--json"]
    results = json.loads(moebius(*args, input="\n".join(lines).encode(), check=True).stdout)["results"]
    assert [r["text"] for r in results] == want


def test_tokenizers_eos_ends_an_answer(moebius, story_teller):
    args = ["--chat", "--prompt", "a cat", "--max-tokens", 40, "--json"]
    whole = json.loads(moebius("generate", story_teller(), *args, check=True).stdout)
    assert whole["finish_reason"] == "length" and "." in whole["text"]
    model = story_teller(eos_token={"content": "."})
    cut = json.loads(moebius("generate", model, *args, check=True).stdout)
    assert (cut["finish_reason"], cut["text"]) == ("stop", whole["text"].split(".")[0])


def test_context_overflow(moebius, story_teller):
    model = story_teller()
    done = moebius("generate", model, "--chat", "--prompt", "word " * 600)
    assert done.returncode == 1 and b"512" in done.stderr
    lines = "\n".join(["a cat", "word " * 600, "a dog"]).encode()
    done = moebius("generate", model, "--chat", "--max-tokens", 5, input=lines)
    assert done.returncode == 1 and b"512" in done.stderr and done.stdout.count(b"\n") == 1


def test_usage(moebius, story_teller, stories):
    model = story_teller()
    for args in (["--prompt", "x", "--system", "y"], [], ["--chat", "--prompt", "x", "--prompts", "y"]):
        assert moebius("generate", model, *args).returncode == 2, args
    done = moebius("generate", stories, "--chat", "--prompt", "x")
    assert done.returncode == 1 and b"no chat template" in done.stderr
    done = moebius("generate", story_teller("{{ raise_exception('not so') }}"), "--chat", "--prompt", "x")
    assert done.returncode == 1 and done.stderr.startswith(b"moebius: not so")
    assert moebius("generate", model, "--chat", input=b"", check=True).stdout == b""
    done = moebius("generate", model, "--chat", input=b"\xff\n")
    assert done.returncode == 1 and b"UTF-8" in done.stderr


class Terminal:
    """The program with its input on a terminal."""

    def __init__(self, *args):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [MOEBIUS, *map(str, args)], stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        os.close(slave)

    def type(self, text):
        os.write(self.master, text.encode())

    def read_until(self, stream, text):
        got, end = "", time.monotonic() + 60
        while text not in got:
            assert time.monotonic() < end, got
            if select.select([stream], [], [], 1)[0]:
                piece = os.read(stream.fileno(), 1).decode(errors="replace")
                assert piece, f"ended after {got!r}"
                got += piece
        return got

    def close(self):
        self.type("\x04")
        out, err = self.process.communicate(timeout=60)
        os.close(self.master)
        return self.process.returncode, out.decode(), err.decode()


def test_terminal(story_teller, hf):
    model = story_teller()
    first, second = Teller(hf, model, 10).converse(["a cat", "a dog"])
    terminal = Terminal("generate", model, "--chat", "--max-tokens", 10)
    out, err = terminal.process.stdout, terminal.process.stderr
    assert terminal.read_until(err, "> ") == "> "
    terminal.type("a cat\n")
    assert terminal.read_until(out, "\n") == first + "\n"
    terminal.read_until(err, "> ")
    terminal.type("word " * 300 + "\n")  # too long: said so, and the conversation goes on
    assert "context is 512" in terminal.read_until(err, "> ")
    terminal.type("a dog\n")
    assert terminal.read_until(out, "\n") == second + "\n"
    code, rest, _ = terminal.close()
    assert (code, rest) == (0, "")


def test_ctrl_c_on_a_terminal_ends_the_answer_alone(story_teller):
    terminal = Terminal("generate", story_teller(), "--chat", "--max-tokens", 450)
    out, err = terminal.process.stdout, terminal.process.stderr
    terminal.read_until(err, "> ")
    terminal.type("a cat\n")
    begun = os.read(out.fileno(), 1)
    terminal.process.send_signal(signal.SIGINT)
    terminal.read_until(err, "> ")
    assert begun and terminal.process.poll() is None
    terminal.type("/reset\n")
    terminal.read_until(err, "> ")
    terminal.process.send_signal(signal.SIGINT)  # with no answer on its way it ends the program
    out, _ = terminal.process.communicate(timeout=60)
    assert terminal.process.returncode == 130
    assert len(out) < 1200


def test_ctrl_c_without_terminal(story_teller):
    args = [MOEBIUS, "generate", story_teller(), "--chat", "--max-tokens", "450"]
    process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(b"a cat\n")
    process.stdin.flush()
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
