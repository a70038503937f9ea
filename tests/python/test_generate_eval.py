"""generate, eval and info against transformers and against cli.md."""

import json
import math
import os
import shutil
import subprocess

import pytest
import torch

import tiny

PROMPT = [3, 1, 4, 15, 92, 65, 35]


@pytest.fixture(scope="session")
def chars(hf, tmp_path_factory):
    """family -> (model, directory with a char tokenizer), made once."""
    root, made = tmp_path_factory.mktemp("chars"), {}

    def call(family, **overrides):
        key = (family, repr(sorted(overrides.items())))
        if key not in made:
            model = tiny.make_model(hf, family, seed=21, **overrides)
            directory = tiny.save(model, root / f"{family}-{len(made)}")
            made[key] = (model, tiny.add_char_tokenizer(directory, 131))
        return made[key]

    return call


@pytest.fixture(scope="module")
def bytes_model(hf, tmp_path_factory):
    """Every token is a byte: what a random model says is hardly ever UTF-8."""
    model = tiny.make_model(hf, "gpt2", vocab_size=257, n_positions=300, eos_token_id=256)
    directory = tiny.save(model, tmp_path_factory.mktemp("bytes") / "model")
    return tiny.add_byte_tokenizer(directory)


def generate(moebius, model, *args, **kw):
    return moebius("generate", model, *args, **{"check": True, **kw}).stdout


def as_json(moebius, *args):
    return json.loads(moebius(*args, "--json", check=True).stdout)


# ---- generate ---------------------------------------------------------------------------------


def test_200_greedy_tokens_byte_for_byte(moebius, stories):
    out = generate(moebius, stories, "--prompt", "", "--max-tokens", 200)
    assert out == (stories / "expected_greedy_200.txt").read_bytes()


@pytest.mark.parametrize("threads", [1, 2])
def test_any_number_of_threads_says_the_same(moebius, stories, threads):
    out = generate(moebius, stories, "--prompt", "", "--max-tokens", 200, "--threads", threads)
    assert out == (stories / "expected_greedy_200.txt").read_bytes()


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("prompt", [PROMPT, [7]])
def test_greedy_ids_equal_transformers(moebius, chars, family, prompt):
    model, directory = chars(family)
    with torch.no_grad():
        ids = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=40,
                             pad_token_id=0)[0].tolist()
    new = ids[len(prompt):]
    out = as_json(moebius, "generate", directory, "--prompt", tiny.to_text(prompt), "--max-tokens", 40)
    assert tiny.to_ids(out["text"]) == [i for i in new if i != 2]
    assert out["new_tokens"] == len(new) and out["prompt_tokens"] == len(prompt)
    assert out["prompt"] == tiny.to_text(prompt)
    assert out["finish_reason"] == ("stop" if new[-1] == 2 else "length")


def test_repetition_penalty_equals_transformers(moebius, chars):
    model, directory = chars("llama")
    with torch.no_grad():
        ids = model.generate(torch.tensor([PROMPT]), do_sample=False, max_new_tokens=30,
                             pad_token_id=0, repetition_penalty=1.7)[0].tolist()
    out = generate(moebius, directory, "--prompt", tiny.to_text(PROMPT), "--max-tokens", 30,
                   "--repetition-penalty", 1.7)
    assert tiny.to_ids(out.decode()) == [i for i in ids[len(PROMPT):] if i != 2]


@pytest.mark.parametrize("family", ["llama", "mixtral", "gpt2"])
def test_log_probs_equal_transformers(moebius, chars, family):
    """Of the model's distribution, whatever sampling makes of it."""
    model, directory = chars(family)
    out = as_json(moebius, "generate", directory, "--prompt", tiny.to_text(PROMPT), "--max-tokens", 12,
                  "--logprobs", 3, "--temperature", 1.5, "--repetition-penalty", 1.3, "--seed", 4)
    found = out["logprobs"]
    ids = tiny.to_ids("".join(found["tokens"]))
    assert len(ids) == out["new_tokens"]
    assert tiny.to_text(i for i in ids if i != 2) == out["text"]
    assert found["text_offset"] == list(range(len(ids)))
    with torch.no_grad():
        logits = model(torch.tensor([PROMPT + ids])).logits[0, len(PROMPT) - 1 : -1]
    log_p = torch.log_softmax(logits.double(), -1)
    chosen = log_p.gather(1, torch.tensor(ids)[:, None])[:, 0]
    assert torch.allclose(torch.tensor(found["token_logprobs"]).double(), chosen, atol=2e-5)
    for row, token, log_prob, top in zip(log_p, found["tokens"], chosen, found["top_logprobs"]):
        values = sorted(top.values(), reverse=True)
        assert torch.allclose(torch.tensor(values[:3]).double(), row.topk(3).values, atol=2e-5)
        assert len(top) == (3 if log_prob >= row.topk(3).values[-1] - 1e-6 else 4)
        assert abs(top[token] - log_prob) < 2e-5


def test_log_probs_need_json(moebius, chars):
    _, directory = chars("llama")
    run = moebius("generate", directory, "--prompt", "a", "--logprobs", 2)
    assert run.returncode == 2 and b"--json" in run.stderr


def test_bf16_equals_transformers(hf, moebius, chars, tmp_path):
    """Greedy ids in bf16, from a stored bf16 model and by --weights."""
    model, f32 = chars("llama")
    stored = tmp_path / "stored"
    low = hf.AutoModelForCausalLM.from_pretrained(f32, dtype=torch.bfloat16)
    tiny.add_char_tokenizer(tiny.save(low, stored), 131)
    a = generate(moebius, stored, "--prompt", tiny.to_text(PROMPT), "--max-tokens", 40)
    b = generate(moebius, f32, "--prompt", tiny.to_text(PROMPT), "--max-tokens", 40, "--weights",
                 "bf16")
    assert a == b
    found = tiny.to_ids(a.decode())
    # Teacher forcing: each token is the best one in transformers' bf16, or a near tie.
    with torch.no_grad():
        logits = low(torch.tensor([PROMPT + found])).logits[0, len(PROMPT) - 1 : -1].float()
    gaps = logits.max(-1).values - logits.gather(1, torch.tensor(found)[:, None])[:, 0]
    assert gaps.max() <= 0.1 * logits.std()
    back = generate(moebius, stored, "--prompt", tiny.to_text(PROMPT), "--max-tokens", 40,
                    "--weights", "f32")
    assert back, "bf16 weights compute in f32 too"


def test_same_seed_same_text_other_seed_other_text(moebius, stories):
    def sample(seed, *more):
        return generate(moebius, stories, "--prompt", "Once", "--max-tokens", 40, "--temperature",
                        1.0, "--seed", seed, *more)

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(4)}) == 4
    assert sample(1, "--top-k", 1) == generate(
        moebius, stories, "--prompt", "Once", "--max-tokens", 40)
    assert sample(3, "--top-p", 1e-9) == sample(4, "--top-p", 1e-9)


def test_samples_follow_the_distribution(moebius, chars, tmp_path):
    """First tokens of many streams: their frequencies are the model's probabilities."""
    model, directory = chars("llama")
    prompts = tmp_path / "prompts.txt"
    count = 600
    prompts.write_text((tiny.to_text(PROMPT) + "\n") * count, encoding="utf-8")
    out = as_json(moebius, "generate", directory, "--prompts", prompts, "--max-tokens", 1,
                  "--temperature", 0.7, "--top-k", 6)
    logits = tiny.hf_logits(model, [PROMPT])[0, -1] / 0.7
    best = logits.topk(6)
    expected = dict(zip(best.indices.tolist(), best.values.softmax(-1).tolist()))
    found = dict.fromkeys(expected, 0)
    for result in out["results"]:
        token = tiny.to_ids(result["text"])[0] if result["text"] else 2
        assert token in expected, "outside the six best"
        found[token] += 1
    for token, probability in expected.items():
        deviation = math.sqrt(probability * (1 - probability) / count)
        assert found[token] / count == pytest.approx(probability, abs=5 * deviation)


def test_stop_cuts_before_the_text(moebius, stories):
    whole = (stories / "expected_greedy_200.txt").read_bytes().decode()
    # Tokens of this vocabulary are short: each of these crosses borders between them.
    for stop in (" named Lily", "e park. One d", "L", "ball.\n", "She wanted to"):
        if stop not in whole:
            continue
        out = as_json(moebius, "generate", stories, "--prompt", "", "--max-tokens", 200, "--stop", stop)
        assert out["text"] == whole[: whole.index(stop)], repr(stop)
        assert out["finish_reason"] == "stop"
    assert " named Lily" in whole
    first = min(("park", "ball", "Once"), key=whole.index)
    stops = [word for stop in ("park", "ball", "Once") for word in ("--stop", stop)]
    out = generate(moebius, stories, "--prompt", "", "--max-tokens", 200, *stops)
    assert out.decode() == whole[: whole.index(first)]
    # A stop text that only begins is printed in the end.
    out = as_json(moebius, "generate", stories, "--prompt", "", "--max-tokens", 200, "--stop",
                  whole[-4:] + "never said")
    assert out["text"] == whole and out["finish_reason"] == "length"


def test_end_of_text_lists_of_generation_config(moebius, chars, tmp_path):
    model, directory = chars("llama")
    free = tiny.to_ids(generate(moebius, directory, "--prompt", tiny.to_text(PROMPT),
                                "--max-tokens", 30).decode())
    ends = [free[9], free[4]]
    cut = min(free.index(i) for i in ends)
    copied = tmp_path / "model"
    shutil.copytree(directory, copied)
    for value in (ends, ends[0]):
        tiny.edit_json(copied / "generation_config.json", eos_token_id=value)
        out = as_json(moebius, "generate", copied, "--prompt", tiny.to_text(PROMPT),
                      "--max-tokens", 30)
        stop = cut if value == ends else free.index(ends[0])
        assert tiny.to_ids(out["text"]) == free[:stop]
        assert out["finish_reason"] == "stop" and out["new_tokens"] == stop + 1


def test_prompts_of_a_file_equal_single_runs(moebius, stories, tmp_path):
    prompts = ["Once upon a time", "The dog", "", "Lily likes  cats é漢"]
    file = tmp_path / "prompts.txt"
    file.write_text("\n".join(prompts) + "\n", encoding="utf-8")
    single = [as_json(moebius, "generate", stories, "--prompt", p, "--max-tokens", 20)
              for p in prompts]
    together = as_json(moebius, "generate", stories, "--prompts", file, "--max-tokens", 20)
    for one, each in zip(single, together["results"], strict=True):
        for key in ("prompt", "text", "prompt_tokens", "new_tokens", "finish_reason"):
            assert one[key] == each[key]
    plain = generate(moebius, stories, "--prompts", file, "--max-tokens", 20)
    assert plain.decode() == "".join(one["text"] + "\n" for one in single)


def whole_characters(bits):
    try:
        bits.decode()
        return True
    except UnicodeDecodeError:
        return False


@pytest.mark.parametrize("seed", [1, 2])
def test_streaming_prints_whole_characters_only(moebius, bytes_model, seed):
    process = subprocess.Popen(
        [moebius.path, "generate", str(bytes_model), "--prompt", "é", "--max-tokens", "250",
         "--temperature", "1.5", "--seed", str(seed)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pieces = []
    # Each write of the program arrives as one piece or is split by us alone, never by the pipe:
    # pieces are far smaller than PIPE_BUF, and reading takes all that is there.
    while piece := os.read(process.stdout.fileno(), 1 << 16):
        pieces.append(piece)
    assert process.wait() == 0
    assert all(whole_characters(piece) for piece in pieces)
    text = b"".join(pieces).decode()
    assert "\ufffd" in text, "the model was expected to say what is no UTF-8"
    assert text == as_json(moebius, "generate", bytes_model, "--prompt", "é", "--max-tokens", 250,
                           "--temperature", 1.5, "--seed", seed)["text"]


def test_streaming_comes_in_pieces(moebius, stories):
    process = subprocess.Popen(
        [moebius.path, "generate", str(stories), "--prompt", "", "--max-tokens", "400"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pieces = []
    while piece := os.read(process.stdout.fileno(), 64):
        pieces.append(piece)
    assert process.wait() == 0
    assert len(pieces) > 20, "the text came at once"


def test_context_bounds_the_generation(moebius, chars):
    _, directory = chars("llama")  # 64 positions
    prompt = tiny.to_text([5] * 60)
    out = as_json(moebius, "generate", directory, "--prompt", prompt, "--max-tokens", 50)
    assert out["new_tokens"] <= 4
    for length in (64, 200):
        done = moebius("generate", directory, "--prompt", tiny.to_text([5] * length))
        assert done.returncode == 1 and done.stdout == b""
        assert f"{length} tokens" in done.stderr.decode() and "64" in done.stderr.decode()


def test_empty_prompt_without_a_start_token(moebius, chars, tmp_path):
    copied = tmp_path / "model"
    shutil.copytree(chars("llama")[1], copied)
    for name in ("config.json", "generation_config.json"):
        tiny.edit_json(copied / name, bos_token_id=None)
    done = moebius("generate", copied, "--prompt", "")
    assert done.returncode == 1 and b"BOS" in done.stderr


# ---- eval -------------------------------------------------------------------------------------


def nll_by_torch(model, ids, context):
    """(tokens, sum of nll) over windows, each on its own."""
    tokens, total = 0, 0.0
    for start in range(0, len(ids), context):
        window = ids[start : start + context]
        if len(window) < 2:
            continue
        log_p = tiny.hf_logits(model, [window])[0].double().log_softmax(-1)
        total -= log_p[:-1].gather(1, torch.tensor(window[1:])[:, None]).sum().item()
        tokens += len(window) - 1
    return tokens, total


@pytest.fixture(scope="module")
def wiki(data, tmp_path_factory):
    file = tmp_path_factory.mktemp("wiki") / "wiki.txt"
    bits = (data / "text/wiki.test.raw").read_bytes()[:20000]
    file.write_bytes(bits[: bits.rindex(b"\n") + 1])
    return file


def ids_of(moebius, model, text):
    return [int(i) for i in moebius("tokenize", model, input=text, check=True).stdout.split()]


@pytest.mark.parametrize("context", [None, 512, 101, 2])
def test_nll_equals_torch_on_real_text(hf, moebius, stories, wiki, tmp_path, context):
    model = tiny.open_in_transformers(hf, stories)
    text = wiki.read_bytes()
    if context == 2:
        text = text[:700]
    file = tmp_path / "text.txt"
    file.write_bytes(text)
    ids = ids_of(moebius, stories, text)
    tokens, total = nll_by_torch(model, ids, context or 512)
    out = as_json(moebius, "eval", stories, "--data", file, *(["--context", context] if context else []))
    assert out["tokens"] == tokens
    assert out["nll"] == pytest.approx(total / tokens, rel=1e-5)
    assert out["perplexity"] == pytest.approx(math.exp(out["nll"]), rel=1e-12)
    assert "kl" not in out and "layers" not in out


@pytest.mark.parametrize("length", [2, 10, 11, 12, 20, 21])
def test_last_window_counts_from_two_tokens_on(moebius, chars, tmp_path, length):
    model, directory = chars("gpt2")
    ids = tiny.random_ids(131, 1, length, seed=4)[0].tolist()
    file = tmp_path / "text.txt"
    file.write_text(tiny.to_text(ids), encoding="utf-8")
    tokens, total = nll_by_torch(model, ids, 10)
    out = as_json(moebius, "eval", directory, "--data", file, "--context", 10)
    assert out["tokens"] == tokens
    assert out["nll"] == pytest.approx(total / tokens, rel=1e-5)


def test_context_beyond_the_model(moebius, stories, wiki):
    done = moebius("eval", stories, "--data", wiki, "--context", 513)
    assert done.returncode == 1 and b"--context 513" in done.stderr


@pytest.mark.parametrize("family", ["mixtral", "granitemoe"])
def test_reference_and_routing_equal_torch(moebius, chars, tmp_path, family):
    model, directory = chars(family)
    reference, reference_directory = chars("llama")
    rows = tiny.random_ids(131, 1, 150, seed=5)[0].tolist()
    file = tmp_path / "text.txt"
    file.write_text(tiny.to_text(rows), encoding="utf-8")
    out = as_json(moebius, "eval", directory, "--data", file, "--context", 40, "--reference",
                  reference_directory)
    kl, equal, tokens, counts, entropy = 0.0, 0, 0, [0, 0], [0.0, 0.0]
    routed, seen = 0, {}

    def keep(n):
        def hook(module, inputs, output):
            seen[n] = next(t for t in output if t.is_floating_point() and t.shape[-1] == 5)
        return hook

    handles = [
        module.register_forward_hook(keep(int(name.split(".")[2])))
        for name, module in model.named_modules()
        if type(module).__name__.endswith("TopKRouter")
    ]
    assert len(handles) == 2
    for start in range(0, len(rows), 40):
        window = rows[start : start + 40]
        p = tiny.hf_logits(reference, [window])[0, :-1].double().log_softmax(-1)
        q = tiny.hf_logits(model, [window])[0, :-1].double().log_softmax(-1)
        kl += (p.exp() * (p - q)).sum().item()
        equal += (p.argmax(-1) == q.argmax(-1)).sum().item()
        tokens += len(window) - 1
        routed += len(window)
        for n in range(2):
            logits = seen[n].float()
            assert logits.min() < 0, "logits, not probabilities"
            counts[n] = counts[n] + torch.bincount(logits.topk(3, -1).indices.flatten(), minlength=5)
            log_p = logits.double().log_softmax(-1)
            entropy[n] -= (log_p.exp() * log_p).sum().item()
    for handle in handles:
        handle.remove()
    assert out["kl"] == pytest.approx(kl / tokens, rel=1e-5)
    assert out["top1_agreement"] == pytest.approx(equal / tokens)
    assert [row["layer"] for row in out["layers"]] == [0, 1]
    for row, count, total in zip(out["layers"], counts, entropy):
        share = (count.double() / count.sum()).tolist()
        assert row["share"] == pytest.approx(share, abs=1e-9)
        assert sum(row["share"]) == pytest.approx(1, abs=1e-12)
        assert row["entropy"] == pytest.approx(-sum(s * math.log(s) for s in share if s), rel=1e-9)
        assert row["router_entropy"] == pytest.approx(total / routed, rel=1e-5)
        assert row["dead"] == [e for e, s in enumerate(share) if s == 0]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_packed_weights_stay_near_the_model(hf, moebius, tmp_path, family):
    """Errors are those of rounding the weights, in groups of 32, and the activations; and, of that, tokens
    that go to other experts."""
    model = tiny.make_model(hf, family, seed=5)
    directory = tiny.add_char_tokenizer(tiny.save(model, tmp_path / "model"), 131)
    text = tmp_path / "text.txt"
    text.write_text(tiny.to_text(tiny.random_ids(131, rows=1, length=200)[0].tolist()))
    spread = tiny.hf_logits(model, tiny.random_ids(131)).std().item()
    kl = {}
    for weights in ("int8", "int4"):
        found = as_json(moebius, "eval", directory, "--data", text, "--context", 64, "--reference", directory,
                        "--weights", weights, "--threads", 3)
        kl[weights] = found["kl"] / spread**2
    assert 0 < kl["int8"] < 1e-2 and 5 * kl["int8"] < kl["int4"] < 0.2, kl


def test_packed_weights_generate_the_same_at_any_number_of_threads(moebius, stories):
    texts = {generate(moebius, stories, "--prompt", "Once", "--max-tokens", 60, "--weights", weights,
                      "--threads", threads) for weights, threads in (("int8", 1), ("int8", 2), ("int8", 3))}
    assert len(texts) == 1


def test_packed_weights_are_for_the_cpu(moebius, stories):
    done = moebius("generate", stories, "--prompt", "x", "--weights", "int4", "--device", "cuda")
    assert done.returncode == 2


@pytest.mark.parametrize("family", ["stories260K", "deepseek_v3", "granitemoe"])
def test_keys_and_values_in_int8_cost_little(hf, moebius, stories, tmp_path, family):
    """Against the same model with keys and values in f32, on text of several pages; in random ones some token may
    go to another expert."""
    directory, text, context, most = stories, tmp_path / "text.txt", 300, 1e-3
    if family == "stories260K":
        text.write_text("Once upon a time there was a little dog who liked to play in the park. " * 40)
    else:
        context, most = 64, 1e-2
        directory = tiny.add_char_tokenizer(tiny.save(tiny.make_model(hf, family, seed=5), tmp_path / "model"), 131)
        text.write_text(tiny.to_text(tiny.random_ids(131, rows=1, length=200)[0].tolist()))
    against = ["eval", directory, "--data", text, "--context", context, "--reference", directory, "--weights", "f32"]
    assert 0 < as_json(moebius, *against, "--kv-cache", "int8")["kl"] < most
    assert as_json(moebius, *against)["kl"] == 0


def test_keys_and_values_in_int8_are_for_the_cpu(moebius, stories):
    done = moebius("generate", stories, "--prompt", "x", "--kv-cache", "int8", "--device", "cuda")
    assert done.returncode == 2


def test_dead_experts_are_named(hf, moebius, tmp_path):
    model = tiny.make_model(hf, "mixtral", num_hidden_layers=2, num_experts_per_tok=2)
    with torch.no_grad():
        # Every token scores like its mean token; experts 1 and 3 of layer 1 always come last.
        router = model.model.layers[1].mlp.gate.weight
        router.copy_(torch.randn(5, 48) * 1e-3)
        norm = model.model.layers[1].post_attention_layernorm.weight
        norm.zero_()
        norm[0] = 1.0
        router[:, 0] = 0
        model.model.layers[1].input_layernorm.weight.fill_(1.0)
    directory = tiny.add_char_tokenizer(tiny.save(model, tmp_path / "model"), 131)
    file = tmp_path / "text.txt"
    file.write_text(tiny.to_text(tiny.random_ids(131, 1, 60)[0].tolist()), encoding="utf-8")
    out = as_json(moebius, "eval", directory, "--data", file)
    # All scores are equal: the two experts of lowest number serve every token.
    assert out["layers"][1]["share"] == pytest.approx([0.5, 0.5, 0, 0, 0])
    assert out["layers"][1]["dead"] == [2, 3, 4]
    assert out["layers"][1]["entropy"] == pytest.approx(math.log(2))
    assert out["layers"][1]["router_entropy"] == pytest.approx(math.log(5))


def test_several_files_give_domains(moebius, chars, tmp_path):
    model, directory = chars("mixtral")
    files, texts = [], []
    for n, length in enumerate([30, 95, 61]):
        ids = tiny.random_ids(131, 1, length, seed=30 + n)[0].tolist()
        files.append(tmp_path / f"domain{n}.txt")
        files[-1].write_text(tiny.to_text(ids), encoding="utf-8")
        texts.append(ids)
    out = as_json(moebius, "eval", directory, "--data", *files, "--context", 20)
    assert [d["name"] for d in out["domains"]] == [f.name for f in files]
    sums = [nll_by_torch(model, ids, 20) for ids in texts]
    for domain, (tokens, total) in zip(out["domains"], sums):
        assert domain["tokens"] == tokens
        assert domain["nll"] == pytest.approx(total / tokens, rel=1e-5)
    tokens, total = map(sum, zip(*sums))
    assert out["tokens"] == tokens and out["nll"] == pytest.approx(total / tokens, rel=1e-5)
    # The share of the whole is that of all tokens that were routed. Windows of one token predict
    # nothing and are not routed: 61 = 3 x 20 + 1.
    routed = [30, 95, 60]
    for n, row in enumerate(out["layers"]):
        for e, share in enumerate(row["share"]):
            parts = [d["layers"][n]["share"][e] * r for d, r in zip(out["domains"], routed)]
            assert share == pytest.approx(sum(parts) / sum(routed), rel=1e-9)
    table = moebius("eval", directory, "--data", *files, check=True).stdout.decode()
    assert all(f.name in table for f in files)


def test_rows_of_jsonl(moebius, chars, tmp_path):
    """Documents one after the other, each ended by EOS."""
    model, directory = chars("llama")
    texts = [tiny.random_ids(131, 1, n, seed=n)[0].tolist() for n in (8, 15, 3)]
    file = tmp_path / "text.jsonl"
    rows = [json.dumps({"body": tiny.to_text(t)}, ensure_ascii=n == 1) for n, t in enumerate(texts)]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    ids = [i for text in texts for i in [*text, 2]]
    tokens, total = nll_by_torch(model, ids, 64)
    out = as_json(moebius, "eval", directory, "--data", file, "--key", "body")
    assert out["tokens"] == tokens and out["nll"] == pytest.approx(total / tokens, rel=1e-5)


def test_eval_in_bf16(hf, moebius, stories, wiki):
    exact = as_json(moebius, "eval", stories, "--data", wiki)["nll"]
    low = as_json(moebius, "eval", stories, "--data", wiki, "--weights", "bf16")["nll"]
    assert low != exact and low == pytest.approx(exact, rel=0.02)


# ---- info -------------------------------------------------------------------------------------


def flops_by_hand(config, family):
    """2 x what a token is multiplied with, from the configuration alone."""
    if family == "gpt2":
        d, inner = config.n_embd, config.n_inner or 4 * config.n_embd
        return 2 * (config.n_layer * (4 * d * d + 2 * d * inner) + config.vocab_size * d)
    d, f = config.hidden_size, config.intermediate_size
    a = getattr(config, "head_dim", None) or d // config.num_attention_heads
    attention = 2 * d * a * (config.num_attention_heads + config.num_key_value_heads)
    ffn = 3 * d * f
    if family in ("mixtral", "granitemoe"):
        ffn = config.num_experts_per_tok * ffn + config.num_local_experts * d
    return 2 * (config.num_hidden_layers * (attention + ffn) + config.vocab_size * d)


@pytest.mark.parametrize(
    "family, overrides",
    [("llama", {}), ("llama", dict(attention_bias=True, mlp_bias=True, head_dim=14)),
     ("llama", dict(tie_word_embeddings=True)), ("gpt2", {}), ("gpt2", dict(n_inner=55)),
     ("mistral", {}), ("mixtral", {}), ("mixtral", dict(num_local_experts=9)), ("granitemoe", {})],
)
def test_info_counts_as_transformers_and_by_hand(moebius, chars, family, overrides):
    model, directory = chars(family, **overrides)
    out = as_json(moebius, "info", directory)
    assert out["architecture"] == family
    total = model.num_parameters()
    assert out["parameters"] == total
    stored = tiny.tensors_of(directory)
    assert out["bytes"] == sum(t.numel() * t.element_size() for t in stored.values())
    config = model.config
    idle = 0
    if family in ("mixtral", "granitemoe"):
        unused = config.num_local_experts - config.num_experts_per_tok
        expert = 3 * config.hidden_size * config.intermediate_size
        idle = config.num_hidden_layers * unused * expert
    assert out["active_parameters"] == total - idle
    assert out["flops_per_token"] == flops_by_hand(config, family)
    moe = family in ("mixtral", "granitemoe")
    layers = config.n_layer if family == "gpt2" else config.num_hidden_layers
    for n, row in enumerate(out["layers"]):
        assert row["layer"] == n and row["kind"] == ("moe" if moe else "dense")
        assert row["experts"] == (config.num_local_experts if moe else 0)
        assert row["top_k"] == (config.num_experts_per_tok if moe else 0)
        assert row["shared"] == 0
        wide = (config.n_inner or 4 * config.n_embd) if family == "gpt2" else config.intermediate_size
        assert row["width"] == wide
    assert len(out["layers"]) == layers
    table = moebius("info", directory, check=True).stdout.decode()
    assert f"{total / 1e6:.3f} M" in table


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_info_of_a_conversion_by_hand(moebius, chars, tmp_path, family):
    overrides = dict(attention_bias=True, mlp_bias=True) if family == "llama" else {}
    model, directory = chars(family, **overrides)
    moebius("convert", directory, "-o", tmp_path / "out", "--layers", "1", "--experts", 6,
            "--top-k", 4, check=True)
    out = as_json(moebius, "info", tmp_path / "out")
    config = model.config
    d = 36 if family == "gpt2" else 48
    f = 4 * 36 if family == "gpt2" else 76
    matrices = (2 if family == "gpt2" else 3) * d * f
    biases = f + d if family == "gpt2" else 2 * f + d
    assert out["parameters"] == model.num_parameters() + 5 * (matrices + biases) + 6 * d
    assert out["active_parameters"] == out["parameters"] - 2 * (matrices + biases)
    assert out["flops_per_token"] == flops_by_hand(config, family) + 2 * (3 * matrices + 6 * d)
    assert [row["kind"] for row in out["layers"]] == ["dense", "moe"]
    assert out["converted"][0]["layer"] == 1
