"""Encoding of WikiText-2's test set, one thread: moebius beside Hugging Face's tokenizers, whose ids
must be the same. Folders of vocab.json with merges.txt are read by transformers for the peer, a
SentencePiece model by its Python library. Times exclude loading: both encode the text once and
sixteen times over."""

import os
import subprocess
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from common import DATA, MOEBIUS, median  # noqa: E402
import sentencepiece  # noqa: E402
import transformers  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

text = (DATA / "text/wiki.test.raw").read_bytes()
times_over = 16


def moebius(folder, data):
    start = time.perf_counter()
    done = subprocess.run([MOEBIUS, "tokenize", folder, "--lines"], input=data, check=True, capture_output=True)
    return time.perf_counter() - start, done.stdout


def peer_of(folder):
    """A function from a line to its ids."""
    if (folder / "tokenizer.json").exists():
        library = Tokenizer.from_file(str(folder / "tokenizer.json"))
    elif (folder / "vocab.json").exists():
        library = transformers.GPT2Tokenizer.from_pretrained(str(folder)).backend_tokenizer
    else:
        model = sentencepiece.SentencePieceProcessor(model_file=str(next(folder.glob("tokenizer.model*"))))
        return lambda line: [model.bos_id(), *model.encode(line)]
    return lambda line: library.encode(line).ids


for name in ("gpt2", "llama2", "qwen", "opt_roberta", "starcoder1_granite", "mixtral"):
    folder = DATA / "tokenizers" / name
    encode = peer_of(folder)
    lines = text.decode().split("\n")[:-1]
    ours, theirs = [], []
    for _ in range(5):
        once, out = moebius(folder, text)
        many, _ = moebius(folder, text * times_over)
        ours.append((many - once) / (times_over - 1))
        start = time.perf_counter()
        ids = [encode(line) for line in lines]
        theirs.append(time.perf_counter() - start)
    if out.decode().split("\n")[:-1] != [" ".join(map(str, row)) for row in ids]:
        raise SystemExit(f"{name}: ids differ")
    mb = len(text) / 1e6
    print(f"{name:<18} moebius {mb / median(ours):6.1f} MB/s   peer {mb / median(theirs):6.1f} MB/s   "
          f"ratio {median(theirs) / median(ours):.1f}")
