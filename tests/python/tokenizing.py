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


def assert_same(text_probe, folder, encode, decode=None, texts=HARD, special=(True, False)):
    """`encode(text, add_special)` gives ids and ranges, `decode(ids)` the text."""
    wanted = [(text, add_special, *encode(text, add_special)) for text in texts for add_special in special]
    found = text_probe([{"tokenizer": str(folder), "text": t, "special": s} for t, s, _, _ in wanted])
    for (text, _, ids, ranges), answer in zip(wanted, found):
        assert answer.get("ids") == ids, (text, answer)
        assert [tuple(pair) for pair in answer["offsets"]] == [tuple(pair) for pair in ranges], text
        assert answer["plain"] == ids, text
    if decode is None:
        return
    several = [encode(text, False)[0] for text in texts]
    for text, ids, answer in zip(texts, several, text_probe([{"tokenizer": str(folder), "ids": i} for i in several])):
        assert answer["text"] == decode(ids), text
