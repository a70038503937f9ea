"""Texts that tokenizers get wrong, and the command line's answers to them."""

TEXTS = [
    "c4_demo.jsonl",
    "codexglue_train.java.txt",
    "lexpredict_contracts.jsonl",
    "tatqa_dataset_dev.json",
    "tinystories_sample_2M.txt",
    "wiki.test.raw",
]
HARD = [
    "",
    " ",
    "     ",
    "\n\n\n",
    "a\n\n  b\n\t\tc  \n ",
    "  two  spaces   three ",
    "a\u0301e\u0308 o\u0302\u0323 \u0301x q\u0307\u0323q\u0323\u0307 \u0344 \u0958 \u212b\u1e9b\u0323",
    "ﬁ ﬀ ½ ㎏ ﷺ ①② ｱｲｳﾞ ℌ Ⅷ",
    "İstanbul ǅ ẞ ΑΣ",
    "👨‍👩‍👧‍👦 👩🏽‍🚀🇩🇪",
    "漢字かな交じり文。한국어 텍스트",
    "각 \u1100\u1161\u11a8 \u1112\u1161\u11ab\u1100\u1173\u11af か\u3099は\u309a \uac00\u11a8",
    "שלום עולם مرحبا بالعالم \u05d1\u05bc\u05b0\u0301 \u200f\u202eabc\u202c",
    "a\x00b\x01\x02\x7f\x80\x9f",
    "\u00a0a\u00a0\u00a0b \u3000c\u2028d\u2029 e\u200b\u200d\ufeff",
    "<s>",
    "<s><s></s>",
    "a<s>b <s> c</s",
    "<|endoftext|><|endoftext|>",
    "a <|endoftext|> b<|endoftext",
    "  <mask>  x<mask><pad> <unk>",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>",
    "<unk>▁▁a ▁ Ġ Ċ <0x0A>",
    "don't we're I've I'm you'll he'd it's DON'T 's 'S ''s it’s",
    "١٢٣ 123 ½ Ⅷ ² 1234567",
    "\U0010ffff\U000e0001\ufffd\ufdd0\ufffe\uffff\U0001fffe",
    "\u0378 \u0530x\U0002ffff \U000e1000\ue000",
    "a" * 5000,
    " " * 3000 + "x" + "\n" * 3000,
    "日本" * 1500,
    "\r\n\r\n x\r",
    "(a, b): c;\td != e && f[0]->g...  --\"h\"",
]


def run(moebius, *args, text):
    done = moebius(*args, input=text.encode())
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def ids_of(output):
    return [[int(word) for word in line.split()] for line in output.decode().split("\n")[:-1]]


def offsets_of(output):
    """[(ids, ranges)] of what --offsets prints: `id:begin-end`."""
    texts = []
    for line in output.decode().split("\n")[:-1]:
        words = [word.replace("-", ":").split(":") for word in line.split()]
        texts.append(([int(w[0]) for w in words], [(int(w[1]), int(w[2])) for w in words]))
    return texts


def write_lines(texts):
    """The texts for --lines; those that are not one line are left out."""
    lines = [text for text in texts if "\n" not in text]
    return lines, "".join(line + "\n" for line in lines)


def assert_same(moebius, folder, encode, decode=None, texts=HARD, special=(True, False)):
    """`encode(text, add_special)` gives ids and ranges, `decode(ids)` the text."""
    for add_special in special:
        flags = [] if add_special else ["--no-special"]
        lines, joined = write_lines(texts)
        found = offsets_of(run(moebius, "tokenize", folder, "--lines", "--offsets", *flags, text=joined))
        plain = ids_of(run(moebius, "tokenize", folder, "--lines", *flags, text=joined))
        assert len(found) == len(lines)
        for text, (ids, ranges), bare in zip(lines, found, plain):
            expected = encode(text, add_special)
            assert ids == expected[0], text
            assert ranges == [tuple(r) for r in expected[1]], text
            assert bare == ids
        for text in [text for text in texts if "\n" in text]:
            found = offsets_of(run(moebius, "tokenize", folder, "--offsets", *flags, text=text))
            ids, ranges = encode(text, add_special)
            assert found == [(ids, [tuple(r) for r in ranges])], text
    if decode is None:
        return
    for text in texts:
        ids = encode(text, False)[0]
        found = run(moebius, "tokenize", folder, "--decode", text=" ".join(map(str, ids)))
        assert found.decode() == decode(ids), text
