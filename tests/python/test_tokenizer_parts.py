"""Tokenizers that the tokenizers library trained or was told to build, part by part: normalisers,
pre-tokenizers, models, added tokens, post-processors, decoders."""

import json
import random

import pytest
from tokenizing import HARD, assert_same

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import (  # noqa: E402
    AddedToken,
    Regex,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

SHORT = [text for text in HARD if len(text) < 1000]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT4O = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BEHAVIORS = ["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
N, P = normalizers, pre_tokenizers

NORMALIZERS = {
    "none": None,
    "NFC": N.NFC(),
    "NFD": N.NFD(),
    "NFKC": N.NFKC(),
    "NFKD": N.NFKD(),
    "lower": N.Lowercase(),
    "strip": N.Strip(),
    "strip left": N.Strip(left=True, right=False),
    "replace": N.Replace(" ", "▁"),
    "replace longer": N.Replace("a", "<é>"),
    "delete": N.Replace(Regex(r"[aeiou]+"), ""),
    "regex": N.Replace(Regex(r"\s{2,}|\p{M}"), " x"),
    "empty matches": N.Replace(Regex("b*"), "-"),
    "prepend": N.Prepend("▁"),
    "llama": N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]),
    "many": N.Sequence([N.Strip(), N.NFKD(), N.Lowercase(), N.Replace(Regex(r"\p{Mn}"), ""), N.NFC()]),
    "twice": N.Sequence([N.NFD(), N.NFKC(), N.Prepend("x "), N.Replace("x", "")]),
}
PRE_TOKENIZERS = {
    "none": None,
    "bytes": P.ByteLevel(add_prefix_space=False),
    "bytes, prefix": P.ByteLevel(add_prefix_space=True),
    "bytes, no regex": P.ByteLevel(add_prefix_space=True, use_regex=False),
    "metaspace": P.Metaspace(),
    "metaspace first": P.Metaspace(prepend_scheme="first"),
    "metaspace first whole": P.Metaspace(prepend_scheme="first", split=False),
    "metaspace never": P.Metaspace(prepend_scheme="never", replacement="_"),
    "digits": P.Digits(),
    "single digits": P.Digits(individual_digits=True),
    "whitespace": P.Whitespace(),
    "whitespace split": P.WhitespaceSplit(),
    "delimiter": P.CharDelimiterSplit("a"),
    **{f"punctuation {b}": P.Punctuation(b) for b in BEHAVIORS},
    **{f"split {b}": P.Split(Regex(r"\s+|[a-c]"), b) for b in BEHAVIORS},
    **{f"split {b}, inverted": P.Split(Regex(r"\w+|[^\w\s]+"), b, invert=True) for b in BEHAVIORS},
    "split string": P.Split(" ", "merged_with_next"),
    "split empty": P.Split(Regex("a*"), "isolated"),
    "llama3": P.Sequence([P.Split(Regex(LLAMA3), "isolated"), P.ByteLevel(False, use_regex=False)]),
    "gpt4o": P.Sequence([P.Split(Regex(GPT4O), "isolated"), P.ByteLevel(False, use_regex=False)]),
    "sequence": P.Sequence([P.WhitespaceSplit(), P.Punctuation(), P.Digits(True), P.ByteLevel()]),
    "metaspace late": P.Sequence([P.Split("\n", "isolated"), P.Metaspace(prepend_scheme="first")]),
}
DECODERS = {
    "none": None,
    "bytes": decoders.ByteLevel(),
    "metaspace": decoders.Metaspace(),
    "metaspace never": decoders.Metaspace(prepend_scheme="never"),
    "suffix": decoders.BPEDecoder(suffix="</w>"),
    "prefix": decoders.WordPiece(prefix="##", cleanup=False),
    "prefix, cleanup": decoders.WordPiece(prefix="##", cleanup=True),
    "llama": decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    ),
}


@pytest.fixture(scope="session")
def lines(data):
    text = (data / "text/wiki.test.raw").read_text().split("\n")[:400]
    java = (data / "text/codexglue_train.java.txt").read_text().split("\n")[:300]
    return [*text, *java, *SHORT]


def trained(lines, normalizer=None, pre_tokenizer=None, size=700, tokens=(), trainer={}, **options):
    library = tokenizers.Tokenizer(models.BPE(**options))
    if normalizer is not None:
        library.normalizer = normalizer
    if pre_tokenizer is not None:
        library.pre_tokenizer = pre_tokenizer
    bytes_too = [f"<0x{i:02X}>" for i in range(256)] if options.get("byte_fallback") else []
    unknown = [options["unk_token"]] if "unk_token" in options else []
    settings = {"special_tokens": [*unknown, *bytes_too], "limit_alphabet": 200, **trainer}
    library.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=size, show_progress=False, max_token_length=12, **settings)
    )
    if bytes_too:  # the trainer declares what it was told to keep; bytes are no words of the text
        file = json.loads(library.to_str())
        file["added_tokens"] = [t for t in file["added_tokens"] if t["content"] not in bytes_too]
        library = tokenizers.Tokenizer.from_str(json.dumps(file))
    library.add_tokens(list(tokens))
    return library


def check(text_probe, folder, library, texts=SHORT, decode=True):
    library.save(str(folder / "tokenizer.json"))

    def encode(text, add_special):
        encoding = library.encode(text, add_special_tokens=add_special)
        return encoding.ids, encoding.offsets

    back = (lambda ids: library.decode(ids, skip_special_tokens=False)) if decode else None
    special = (True, False) if library.post_processor else (True,)
    assert_same(text_probe, folder, encode, back, texts, special)


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("pre", ["none", *(pytest.param(p, marks=pytest.mark.long) for p in ("bytes, prefix", "metaspace first"))])
def test_normalizers(text_probe, tmp_path, lines, name, pre):
    if (name, pre) == ("empty matches", "bytes, prefix"):
        pytest.skip("the library panics")
    library = trained(lines, NORMALIZERS[name], PRE_TOKENIZERS[pre], unk_token="<unk>")
    check(text_probe, tmp_path, library, [*SHORT, *lines[:100]], decode=False)


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
@pytest.mark.parametrize("normalizer", ["none", pytest.param("many", marks=pytest.mark.long)])
def test_pre_tokenizers(text_probe, tmp_path, lines, name, normalizer):
    library = trained(lines, NORMALIZERS[normalizer], PRE_TOKENIZERS[name], unk_token="<unk>")
    check(text_probe, tmp_path, library, [*SHORT, *lines[:100]], decode=False)


@pytest.mark.long
@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD", "lower"])
def test_forms_of_every_character(text_probe, tmp_path, form):
    library = trained([], NORMALIZERS[form], PRE_TOKENIZERS["bytes"], size=300,
                      trainer={"initial_alphabet": P.ByteLevel.alphabet(), "limit_alphabet": 256})
    points = [c for c in range(1, 0x30000) if not 0xD800 <= c <= 0xDFFF and c != 10]
    texts = ["".join(f"a{chr(c)}\u0301\u0323 " for c in points[i : i + 64]) for i in range(0, len(points), 64)]
    check(text_probe, tmp_path, library, texts, decode=False)


@pytest.mark.long
@pytest.mark.parametrize("name", ["whitespace", "punctuation isolated", "digits", "whitespace split", "llama3", "gpt4o"])
def test_splits_at_every_character(text_probe, tmp_path, name):
    library = trained(["ab"], None, PRE_TOKENIZERS[name], size=20, unk_token="<unk>", fuse_unk=True)
    points = [c for c in range(1, 0x30000) if not 0xD800 <= c <= 0xDFFF and c != 10]
    texts = ["".join(f"a{chr(c)}b" for c in points[i : i + 16]) for i in range(0, len(points), 16)]
    check(text_probe, tmp_path, library, texts, decode=False)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"unk_token": "<unk>"},
        {"unk_token": "<unk>", "fuse_unk": True},
        {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True},
        {"byte_fallback": True},
        {"unk_token": "<unk>", "ignore_merges": True},
        {"continuing_subword_prefix": "##", "unk_token": "<unk>"},
        {"continuing_subword_prefix": "▁▁", "unk_token": "<unk>", "fuse_unk": True},
        {"end_of_word_suffix": "</w>", "unk_token": "<unk>"},
        {"continuing_subword_prefix": "##", "end_of_word_suffix": "</w>", "unk_token": "<unk>"},
    ],
)
def test_models(text_probe, tmp_path, lines, options):
    affixes = {k: v for k, v in options.items() if k.endswith("fix")}
    library = trained(lines, None, P.WhitespaceSplit(), trainer={**affixes, "limit_alphabet": 60}, **options)
    check(text_probe, tmp_path, library, [*SHORT, *lines[:100], "x" * 300, "é" * 200], decode=False)


@pytest.mark.parametrize("name", DECODERS)
def test_decoders(text_probe, tmp_path, lines, name):
    affixes = {"continuing_subword_prefix": "##", "end_of_word_suffix": "</w>"} if "fix" in name else {}
    pre = PRE_TOKENIZERS["whitespace" if affixes else "bytes" if name == "bytes" else "metaspace"]
    library = trained(lines, None, pre, trainer=affixes, unk_token="<unk>", **affixes)
    if DECODERS[name] is not None:
        library.decoder = DECODERS[name]
    check(text_probe, tmp_path, library, [*SHORT, *lines[:60], "do not can n't . it 's ?"])


POST_PROCESSORS = {
    "bytes, trimmed": processors.ByteLevel(trim_offsets=True, add_prefix_space=True),
    "bytes, trimmed, no prefix": processors.ByteLevel(trim_offsets=True, add_prefix_space=False),
    "bytes": processors.ByteLevel(trim_offsets=False),
    "roberta": processors.RobertaProcessing(("<s>", 0), ("</s>", 1)),
    "roberta, untrimmed": processors.RobertaProcessing(("<s>", 0), ("</s>", 1), trim_offsets=False),
    "roberta, no prefix": processors.RobertaProcessing(("<s>", 0), ("</s>", 1), add_prefix_space=False),
    "bert": processors.BertProcessing(("</s>", 1), ("<s>", 0)),
    "template": processors.TemplateProcessing("<s> $A </s> </s>", "$A $B", [("<s>", 0), ("</s>", 1)]),
    "sequence": processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing("<s> $A </s>", "$A $B", [("<s>", 0), ("</s>", 1)]),
        ]
    ),
    "sequence, late": processors.Sequence(
        [
            processors.TemplateProcessing("<s> $A", "$A $B", [("<s>", 0)]),
            processors.ByteLevel(trim_offsets=True),
        ]
    ),
}


@pytest.mark.parametrize("name", POST_PROCESSORS)
@pytest.mark.parametrize("prefix", [True, False])
def test_post_processors(text_probe, tmp_path, lines, name, prefix):
    special = {"special_tokens": ["<s>", "</s>"]}
    library = trained(lines, None, P.ByteLevel(add_prefix_space=prefix), trainer=special)
    library.add_tokens([AddedToken("<mask>", lstrip=True, rstrip=True)])
    library.post_processor = POST_PROCESSORS[name]
    check(text_probe, tmp_path, library, [*SHORT, *lines[:60], "  <mask> x", " <mask>", "   x  <mask>   y"], decode=False)


def random_token(rng):
    content = rng.choice(["<s>", "<x y>", "don", "é", "É", "ab", "abc", " b", "b ", "the", "1", "<|end|>", "漢", "İ"])
    flags = {k: rng.random() < 0.3 for k in ("single_word", "lstrip", "rstrip", "normalized", "special")}
    return AddedToken(content, **flags)


@pytest.mark.short_cases(8)
@pytest.mark.parametrize("seed", range(40))
def test_random_tokenizers(text_probe, tmp_path, lines, seed):
    """Any of the parts with any other, and added tokens with any flags."""
    rng = random.Random(seed)
    normalizer = NORMALIZERS[rng.choice(list(NORMALIZERS))]
    pre = PRE_TOKENIZERS[rng.choice(list(PRE_TOKENIZERS))]
    options = {"unk_token": "<unk>", "fuse_unk": rng.random() < 0.5, "byte_fallback": rng.random() < 0.5}
    tokens = [random_token(rng) for _ in range(rng.randrange(8))]
    sample = rng.sample(lines, 150)
    library = trained(sample, normalizer, pre, rng.randrange(300, 900), tokens, **options)
    if rng.random() < 0.5:
        library.post_processor = processors.ByteLevel(trim_offsets=rng.random() < 0.5)
    alphabet = ["a", "b", " ", "\n", "é", "e\u0301", "É", "<s>", "<x y>", "abc", "don", "1", "漢", "\u3000", "the", "İ"]
    texts = ["".join(rng.choices(alphabet, k=rng.randrange(30))) for _ in range(60)]
    check(text_probe, tmp_path, library, [*SHORT, *texts, *sample[:40]], decode=False)


@pytest.mark.long
@pytest.mark.parametrize("regex", [r"\w", r"[^\w\s]+", r"\b", r"\B", r"\d", r"\p{M}", r"\p{Lu}", r"\p{Ll}", r"[\p{N}_]", r"\p{P}", r"\S", r"\H"])
def test_classes_of_every_character(text_probe, tmp_path, regex):
    library = tokenizers.Tokenizer(models.BPE({"a": 0, "u": 1}, [], unk_token="u", fuse_unk=True))
    library.pre_tokenizer = P.Split(Regex(regex), "isolated")
    points = [c for c in range(1, 0x34000) if not 0xD800 <= c <= 0xDFFF and c != 10]
    texts = ["".join(f"a{chr(c)}a!{chr(c)}" for c in points[i : i + 16]) for i in range(0, len(points), 16)]
    check(text_probe, tmp_path, library, texts, decode=False)


def test_merges_in_both_forms(moebius, text_probe, tmp_path, lines):
    library = trained(lines, None, P.ByteLevel())
    check(text_probe, tmp_path, library)
    file = json.loads((tmp_path / "tokenizer.json").read_text())
    assert isinstance(file["model"]["merges"][0], list)
    file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]
    old = tmp_path / "old"
    old.mkdir()
    (old / "tokenizer.json").write_text(json.dumps(file))
    texts = "".join(line + "\n" for line in lines if "\n" not in line).encode()
    new = moebius("tokenize", tmp_path, "--lines", input=texts)
    assert new.stdout and new.stdout == moebius("tokenize", old, "--lines", input=texts).stdout
