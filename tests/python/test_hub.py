"""MODEL as a name on a hub: the cache that huggingface_hub shares, downloads, and servers that
break off, redirect, lie and never end."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time

import huggingface_hub
import pytest
import torch

import tiny
from conftest import MOEBIUS
from hub_server import Answer, Hub, etag_of
from test_bad_input import refused

NAME, WEIGHTS = "org/name", "model.safetensors"
FOLDER = "models--org--name"


@pytest.fixture(scope="session")
def original(hf, tmp_path_factory):
    directory = tmp_path_factory.mktemp("hub") / "model"
    tiny.save(tiny.make_model(hf, "llama", vocab_size=257), directory)
    tiny.add_byte_tokenizer(directory)
    return directory


@pytest.fixture
def files(original):
    return {p.name: p.read_bytes() for p in original.iterdir()} | {
        "README.md": b"# a model", "pytorch_model.bin": b"not needed", "run.py": b"import os"}


@pytest.fixture
def hub(files):
    server = Hub(files)
    yield server
    server.close()


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "hf" / "hub"


@pytest.fixture
def env(hub, cache):
    return {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(cache.parent),
            "HF_HUB_CACHE": "", "HF_TOKEN": "", "HF_HUB_DOWNLOAD_TIMEOUT": "2", "NO_PROXY": "*",
            "no_proxy": "*"}


@pytest.fixture
def info(moebius, env):
    def call(*args, name=NAME, **changes):
        return moebius("info", name, "--json", "--log-level", "warn", *args, env=env | changes)

    return call


def snapshot(cache, hub):
    return cache / FOLDER / "snapshots" / hub.commit


def blob(cache, hub, file=WEIGHTS):
    return cache / FOLDER / "blobs" / etag_of(file, hub.files[file])


def part(cache, hub, file=WEIGHTS):
    return blob(cache, hub, file).with_name(blob(cache, hub, file).name + ".incomplete")


def on(hub, server, method, ending, change):
    """Bends the answers to some requests; `change(answer, n)` gets their number, from 0."""
    count = iter(range(10**6))

    def bend(request, answer):
        if (request.server, request.method) == (server, method) and request.path.endswith(ending):
            return change(answer, next(count))

    hub.bend = bend


def is_whole(cache, hub, info):
    done = info()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["architecture"] == "llama"
    assert (snapshot(cache, hub) / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert not list(cache.rglob("*.incomplete"))


# ---- What is fetched, and where it stands -----------------------------------------------------


def test_what_is_needed_is_fetched_once(hub, cache, info):
    is_whole(cache, hub, info)
    names = {p.name for p in snapshot(cache, hub).iterdir()}
    assert names == {"config.json", "generation_config.json", "tokenizer.json", WEIGHTS}
    for name in names:
        link = snapshot(cache, hub) / name
        assert os.readlink(link) == f"../../blobs/{etag_of(name, hub.files[name])}"
    assert (cache / FOLDER / "refs/main").read_text() == hub.commit
    before = len(hub.requests)
    is_whole(cache, hub, info)
    assert len(hub.requests) == before


def test_chat_templates_are_fetched_from_their_folder(hub, cache, env, moebius, tmp_path):
    default, tools = b"{{ messages[0].content }}", b"tools: {{ messages[0].content }}"
    hub.files |= {"chat_template.jinja": default, "additional_chat_templates/tool use.jinja": tools,
                  "additional_chat_templates/README.md": b"", "more/chat_template.jinja": b"", "more/tokenizer.json": b"{}"}
    out = tmp_path / "out"
    moebius("convert", NAME, "-o", out, "--layers", "0", env=env, check=True)
    folder = snapshot(cache, hub)
    assert not (folder / "more").exists()
    (link,) = (folder / "additional_chat_templates").iterdir()
    assert os.readlink(link) == f"../../../blobs/{etag_of(link.name, tools)}"
    assert huggingface_hub.try_to_load_from_cache(
        NAME, "additional_chat_templates/tool use.jinja", cache_dir=cache) == str(link)
    for model in (folder, out):
        assert (model / "chat_template.jinja").read_bytes() == default
        assert (model / "additional_chat_templates/tool use.jinja").read_bytes() == tools


def test_huggingface_hub_reads_our_cache(hub, cache, info, hf):
    is_whole(cache, hub, info)
    found = huggingface_hub.scan_cache_dir(cache)
    assert not found.warnings
    (repo,) = found.repos
    assert (repo.repo_id, repo.repo_type, repo.nb_files) == (NAME, "model", 4)
    (revision,) = repo.revisions
    assert revision.commit_hash == hub.commit and revision.refs == {"main"}
    path = huggingface_hub.snapshot_download(NAME, cache_dir=cache, local_files_only=True)
    assert path == str(snapshot(cache, hub))
    for file in ("config.json", WEIGHTS):
        assert huggingface_hub.try_to_load_from_cache(NAME, file, cache_dir=cache) == f"{path}/{file}"
    model = hf.AutoModelForCausalLM.from_pretrained(NAME, cache_dir=cache, local_files_only=True)
    assert model.config.vocab_size == 257


OTHERS = """
import huggingface_hub, sys
print(huggingface_hub.snapshot_download("org/name", allow_patterns=["*.json", "*.safetensors"]))
"""


def fetch_with_huggingface_hub(env):
    return subprocess.run([sys.executable, "-c", OTHERS], env=os.environ | env, check=True,
                          capture_output=True, timeout=120).stdout.decode().strip()


def serve_tree(hub):
    """What huggingface_hub asks for beyond what we do."""
    tree = [{"type": "file", "path": n, "size": len(c), "oid": "0" * 40} for n, c in hub.files.items()]

    def bend(request, answer):
        if "/tree/" in request.path:
            return Answer(body=json.dumps(tree).encode(), Content_Type="application/json")
        if "/revision/" in request.path:
            body = json.loads(answer.body) | {"id": NAME, "modelId": NAME, "tags": [],
                                              "downloads": 0, "likes": 0, "private": False}
            return Answer(body=json.dumps(body).encode(), Content_Type="application/json")

    hub.bend = bend


def test_we_read_the_cache_of_huggingface_hub(hub, cache, env, info):
    serve_tree(hub)
    path = fetch_with_huggingface_hub(env | {"HF_HUB_CACHE": str(cache)})
    assert path == str(snapshot(cache, hub))
    hub.requests.clear()
    is_whole(cache, hub, info)
    assert not hub.requests
    done = info(HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 0


def test_what_is_half_there_is_completed(hub, cache, info):
    is_whole(cache, hub, info)
    blob(cache, hub).unlink()  # leaves a link that leads nowhere
    hub.requests.clear()
    is_whole(cache, hub, info)
    assert [r.path for r in hub.asked("hub", "HEAD")] == [f"/{NAME}/resolve/{hub.commit}/{WEIGHTS}"]


@pytest.mark.parametrize("kind", ["bin", "sharded", "sharded-bin"])
def test_other_weights(hub, cache, info, hf, tmp_path, original, kind):
    for name in (WEIGHTS, "pytorch_model.bin"):
        del hub.files[name]
    state = tiny.tensors_of(original)
    if kind == "bin":
        torch.save(state, tmp_path / "pytorch_model.bin")
    elif kind == "sharded":
        model = tiny.make_model(hf, "llama", vocab_size=257)
        tiny.save(model, tmp_path / "s", max_shard_size="60KB")
    else:
        weight_map = {n: f"pytorch_model-{i % 2}.bin" for i, n in enumerate(state)}
        for file in set(weight_map.values()):
            torch.save({n: t for n, t in state.items() if weight_map[n] == file}, tmp_path / file)
        index = tmp_path / "pytorch_model.bin.index.json"
        index.write_text(json.dumps({"weight_map": weight_map}))
    for file in [*tmp_path.glob("*.bin*"), *tmp_path.glob("s/*.safetensors*")]:
        hub.files[file.name] = file.read_bytes()
    done = info()
    assert done.returncode == 0, done.stderr
    fetched = {p.name for p in snapshot(cache, hub).iterdir()}
    assert fetched == hub.files.keys() - {"README.md", "run.py"}


def test_every_command_takes_names(hub, cache, env, moebius, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("some text to measure " * 20)
    call = lambda *args, **kw: moebius(*args, env=env, check=True, **kw)
    assert call("tokenize", NAME, input=b"ab").stdout == b"97 98\n"
    assert {p.name for p in snapshot(cache, hub).iterdir()} == {
        "config.json", "generation_config.json", "tokenizer.json"}
    call("generate", NAME, "--prompt", "ab", "--max-tokens", 2)
    kl = call("eval", NAME, "--data", text, "--reference", f"{NAME}@v1", "--json").stdout
    assert json.loads(kl)["kl"] < 1e-9
    call("convert", NAME, "-o", tmp_path / "moe")
    source = json.loads((tmp_path / "moe/conversion.json").read_text())["source"]
    assert source["path"] == NAME and WEIGHTS in source["digests"]
    call("train", "--init", NAME, "--tokenizer", NAME, "--data", text, "--out", tmp_path / "run",
         "--steps", 1, "--sequence", 8, "--batch", 1)
    assert f'init: "{NAME}"' in (tmp_path / "run/config.yaml").read_text()
    assert len(hub.asked("storage", "GET")) == 1


def test_revisions(hub, cache, info):
    assert info(name=f"{NAME}@v1").returncode == 0
    assert (cache / FOLDER / "refs/v1").read_text() == hub.commit
    assert not (cache / FOLDER / "refs/main").exists()
    hub.requests.clear()
    assert info(name=f"{NAME}@{hub.commit}").returncode == 0
    assert not hub.requests
    refused(info(name=f"{NAME}@v2"), f"{NAME}@v2", "no such revision")


def test_a_directory_goes_first(hub, env, moebius, tmp_path, original):
    shutil.copytree(original, tmp_path / NAME)
    moebius("info", NAME, env=env, cwd=tmp_path, check=True)
    assert not hub.requests


@pytest.mark.short_cases(4)
@pytest.mark.parametrize("name", ["nowhere", "./org/name", "/org/name", "a/b/c", "org/", "/name", "..",
                                  "../name", "org/../name", "org/name@", "org/na me", "org/.name",
                                  "org/name@../x", "org/name@/x", "org/a--b", "~/x", "org/name@a//b"])
def test_what_is_no_name_is_a_path(hub, info, name):
    refused(info(name=name), name, "no such directory" if name != ".." else "config.json")
    assert not hub.requests


# ---- Breaking off and taking up ---------------------------------------------------------------


def cut(answer, size):
    answer.headers["Content-Length"] = str(len(answer.body))
    answer.body = answer.body[:size]
    return answer


def test_a_broken_transfer_is_resumed(hub, cache, info):
    on(hub, "storage", "GET", WEIGHTS, lambda a, n: cut(a, 30_000) if n < 2 else None)
    is_whole(cache, hub, info)
    ranges = [r.headers.get("Range") for r in hub.asked("storage", "GET")]
    assert ranges == [None, "bytes=30000-", "bytes=60000-"]


def test_a_server_without_ranges(hub, cache, info):
    whole = hub.files[WEIGHTS]

    def change(answer, n):
        return cut(Answer(body=whole), 30_000) if n < 2 else Answer(body=whole)

    on(hub, "storage", "GET", WEIGHTS, change)
    is_whole(cache, hub, info)
    assert len(hub.asked("storage", "GET")) == 3


def test_the_next_process_goes_on(hub, cache, info):
    on(hub, "storage", "GET", WEIGHTS, lambda a, n: cut(a, 10_000))
    refused(info(), WEIGHTS)
    assert part(cache, hub).stat().st_size == 50_000
    assert not (snapshot(cache, hub) / WEIGHTS).exists()
    assert not (cache / FOLDER / "refs").exists()
    hub.bend = lambda request, answer: None
    hub.requests.clear()
    is_whole(cache, hub, info)
    assert [r.headers["Range"] for r in hub.asked("storage", "GET")] == ["bytes=50000-"]


@pytest.mark.short_cases(2)
@pytest.mark.parametrize("left", ["longer", "whole", "whole-but-wrong", "wrong", "link", "folder"])
def test_what_lies_there_already(hub, cache, info, tmp_path, left):
    whole, target = hub.files[WEIGHTS], tmp_path / "victim"
    target.write_bytes(b"precious")
    file = part(cache, hub)
    file.parent.mkdir(parents=True)
    content = {"longer": whole + b"x", "whole": whole, "whole-but-wrong": b"x" * len(whole),
               "wrong": b"x" * 1000}
    if left == "link":
        file.symlink_to(target)
    elif left == "folder":
        file.mkdir()
    else:
        file.write_bytes(content[left])
    if "wrong" in left:
        refused(info(), "digest")
        assert not file.exists()
    is_whole(cache, hub, info)
    assert target.read_bytes() == b"precious"


def test_interrupted_and_resumed(hub, cache, info, env):
    whole = hub.files[WEIGHTS]
    reached = threading.Event()

    def slowly(answer, n):
        def pieces():
            yield whole[:40_000]
            reached.set()
            for at in range(40_000, len(whole), 10):
                time.sleep(0.1)
                yield whole[at : at + 10]

        return Answer(body=pieces(), Content_Length=len(whole)) if n == 0 else None

    on(hub, "storage", "GET", WEIGHTS, slowly)
    with subprocess.Popen([MOEBIUS, "info", NAME, "--log-level", "warn"], env=os.environ | env,
                          stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert reached.wait(30)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == b"moebius: stopped\n"
    assert part(cache, hub).stat().st_size >= 40_000
    is_whole(cache, hub, info)
    assert int(hub.asked("storage", "GET")[-1].headers["Range"][6:-1]) >= 40_000


def test_two_processes_at_once(hub, cache, info, env):
    whole = hub.files[WEIGHTS]

    def slowly(answer, n):
        def pieces():
            for at in range(0, len(whole), 20_000):
                time.sleep(0.05)
                yield whole[at : at + 20_000]

        return Answer(body=pieces(), Content_Length=len(whole))

    on(hub, "storage", "GET", WEIGHTS, slowly)
    both = [subprocess.Popen([MOEBIUS, "info", NAME, "--log-level", "warn"], env=os.environ | env,
                             stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert len(hub.asked("storage", "GET")) == 1
    is_whole(cache, hub, info)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(hub, cache, info, status):
    seen = {}

    def bend(request, answer):
        key = request.server, request.method, request.path
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 1 and (request.name in (WEIGHTS, "main")):
            return Answer(status, Retry_After=1)

    hub.bend = bend
    is_whole(cache, hub, info)


def test_a_server_that_stays_down(hub, cache, info):
    on(hub, "hub", "GET", "main", lambda a, n: Answer(503))
    refused(info(), NAME, hub.endpoint, "503")
    assert len(hub.asked("hub", "GET", "main")) == 5


def test_a_server_that_falls_silent(hub, info):
    def silent(answer, n):
        def pieces():
            yield b"x"
            time.sleep(8)

        return Answer(body=pieces(), Content_Length=100)

    on(hub, "hub", "GET", "main", silent)
    start = time.monotonic()
    refused(info(HF_HUB_DOWNLOAD_TIMEOUT="1"), hub.endpoint, "Timeout")
    assert time.monotonic() - start < 60


# ---- Whom one talks to ------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["variable", "file"])
def test_the_token_goes_to_the_hub_alone(hub, cache, info, where):
    if where == "file":
        cache.parent.mkdir()
        (cache.parent / "token").write_text("hf_secret\n")
        assert info().returncode == 0
    else:
        assert info(HF_TOKEN=" hf_secret\n").returncode == 0
    assert {r.headers.get("Authorization") for r in hub.asked("hub")} == {"Bearer hf_secret"}
    assert hub.asked("storage")
    assert {r.headers.get("Authorization") for r in hub.asked("storage")} == {None}


def test_a_token_that_could_smuggle_headers(hub, info):
    refused(info(HF_TOKEN="hf_x\r\nX-Evil: 1"), "HF_TOKEN")
    assert not hub.requests


def test_redirects_inside_the_host_are_followed(hub, cache, info):
    """As for a model that was renamed."""
    def bend(request, answer):
        if request.server == "hub" and request.path.startswith("/org/name/resolve/"):
            if not request.path.endswith("?moved"):
                return Answer(307, Location=request.path + "?moved", ETag='"wrong"')
            request.name = request.name.removesuffix("?moved")
            request.path = request.path.removesuffix("?moved")
            return hub._front(request)

    hub.bend = bend
    assert info(HF_TOKEN="hf_secret").returncode == 0


@pytest.mark.parametrize("to", ["{}", "file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x"])
def test_redirects_that_lead_nowhere(hub, info, to):
    on(hub, "hub", "GET", "main", lambda a, n: Answer(302, Location=to.format("main")))
    assert info().returncode == 1


@pytest.mark.parametrize(
    "answer, named", [(Answer(401, X_Error_Code="RepoNotFound"), ["HF_TOKEN", "401"]),
                      (Answer(403, X_Error_Code="GatedRepo"), ["HF_TOKEN", "gated", "403"]),
                      (Answer(404, X_Error_Code="RepoNotFound"), ["no such model"]),
                      (Answer(418), ["418"])])
@pytest.mark.parametrize("token", ["", "hf_x"])
def test_refusals(hub, info, answer, named, token):
    on(hub, "hub", "GET", "main", lambda a, n: answer)
    refused(info(HF_TOKEN=token), NAME, hub.endpoint, *named)
    hub.requests.clear()
    on(hub, "hub", "HEAD", WEIGHTS, lambda a, n: answer)
    if answer.status != 404:
        refused(info(HF_TOKEN=token), NAME, WEIGHTS, *named)


def test_nobody_there(info, cache):
    refused(info(HF_ENDPOINT="http://127.0.0.1:9"), "127.0.0.1:9", "HF_ENDPOINT")
    refused(info(HF_ENDPOINT="ftp://x"), "HF_ENDPOINT")
    assert not cache.exists()


def test_offline_never_asks(hub, info, cache):
    for value in ("1", "true", "YES", "on"):
        refused(info(HF_HUB_OFFLINE=value), NAME, "HF_HUB_OFFLINE", cache)
    assert not hub.requests


def test_certificates_are_checked(hub, info, tmp_path):
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out",
         "cert.pem", "-days", "2", "-subj", "/CN=127.0.0.1"], cwd=tmp_path, capture_output=True)
    assert made.returncode == 0, made.stderr
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    hub.front.socket = context.wrap_socket(hub.front.socket, server_side=True)
    refused(info(HF_ENDPOINT=hub.endpoint.replace("http:", "https:"), HF_TOKEN="hf_x"), "certificate")
    assert not hub.requests


# ---- Servers that lie -------------------------------------------------------------------------


def endless():
    while True:
        yield b"x" * 65536


LIES = {
    "a longer file than announced": ("storage", "GET", lambda a, w: Answer(body=w + b"x"), "announced"),
    "a shorter file than announced": ("storage", "GET", lambda a, w: Answer(body=w[:-1]), "announced"),
    "no length, and more": (
        "storage", "GET", lambda a, w: Answer(body=iter([w, b"x"])), "more than"),
    "no length, no end": ("storage", "GET", lambda a, w: Answer(body=endless()), "more than"),
    "another file": ("storage", "GET", lambda a, w: Answer(body=b"x" * len(w)), "digest"),
    "another part": (
        "storage", "GET",
        lambda a, w: Answer(206, body=w, Content_Range=f"bytes 5-{len(w) - 1}/{len(w)}"), "asked for"),
    "a size too small": (
        "hub", "HEAD", lambda a, w: a.headers.update({"X-Linked-Size": "5"}), "announced"),
    "a size too large": (
        "hub", "HEAD", lambda a, w: a.headers.update({"X-Linked-Size": "5000000"}), "announced"),
    "more than the disk": (
        "hub", "HEAD", lambda a, w: a.headers.update({"X-Linked-Size": str(10**17)}), "free"),
    "no size": ("hub", "HEAD", lambda a, w: a.headers.pop("X-Linked-Size") and None, "size"),
    "a negative size": ("hub", "HEAD", lambda a, w: a.headers.update({"X-Linked-Size": "-5"}), "size"),
    "no etag": ("hub", "HEAD", lambda a, w: a.headers.pop("X-Linked-Etag") and None, "ETag"),
    "a wrong etag": (
        "hub", "HEAD", lambda a, w: a.headers.update({"X-Linked-Etag": '"' + "0" * 64 + '"'}), "digest"),
    "an etag that is a path": (
        "hub", "HEAD", lambda a, w: a.headers.update({"X-Linked-Etag": '"../../../evil"'}), "ETag"),
    "an etag that is a folder": (
        "hub", "HEAD", lambda a, w: a.headers.update({"X-Linked-Etag": '".."'}), "ETag"),
}


@pytest.mark.short_cases(5)
@pytest.mark.parametrize("lie", LIES)
def test_lies_about_a_file(hub, cache, info, tmp_path, lie):
    server, method, change, named = LIES[lie]
    whole = hub.files[WEIGHTS]
    on(hub, server, method, WEIGHTS, lambda a, n: change(a, whole))
    refused(info(), named)
    assert not (snapshot(cache, hub) / WEIGHTS).exists()
    assert not (cache / FOLDER / "refs/main").exists()
    assert not list(tmp_path.rglob("evil*"))
    hub.bend = lambda request, answer: None
    is_whole(cache, hub, info)


@pytest.mark.short_cases(4)
@pytest.mark.parametrize("change, named", [
    (lambda b: b | {"siblings": [{"rfilename": "../../x"}]}, "outside"),
    (lambda b: b | {"siblings": [{"rfilename": "/etc/x"}]}, "outside"),
    (lambda b: b | {"siblings": [{"rfilename": "a/../../x"}]}, "outside"),
    (lambda b: b | {"siblings": [{"rfilename": ""}]}, "outside"),
    (lambda b: b | {"siblings": [{"rfilename": "a\0b"}]}, "outside"),
    (lambda b: b | {"siblings": [{}]}, "rfilename"),
    (lambda b: b | {"siblings": 3}, "siblings"),
    (lambda b: b | {"siblings": []}, "no config.json"),
    (lambda b: b | {"siblings": [{"rfilename": "config.json"}]}, "weights"),
    (lambda b: b | {"sha": "../../../x"}, "commit"),
    (lambda b: b | {"sha": "main"}, "commit"),
    (lambda b: {}, "sha"),
    (lambda b: [], "/revision/main"),
])
def test_listings_that_lie(hub, info, cache, change, named):
    def bend(request, answer):
        if request.name == "main":
            return Answer(body=json.dumps(change(json.loads(answer.body))).encode())

    hub.bend = bend
    refused(info(), named)
    assert not cache.exists()


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"[" * 100_000, endless()],
                         ids=["nothing", "cut", "html", "deep", "endless"])
def test_answers_that_are_no_listing(hub, info, body):
    on(hub, "hub", "GET", "main", lambda a, n: Answer(body=body))
    refused(info(), hub.endpoint)


def test_an_index_that_points_outside(hub, cache, info):
    del hub.files[WEIGHTS], hub.files["pytorch_model.bin"]
    index = {"weight_map": {"a": "../../../evil.safetensors"}}
    hub.files["model.safetensors.index.json"] = json.dumps(index).encode()
    refused(info(), "evil.safetensors", "beside")


def test_a_cache_that_lies(hub, cache, info, tmp_path):
    refs = cache / FOLDER / "refs"
    refs.mkdir(parents=True)
    for text in ("../../../evil", "", "x" * 40):
        (refs / "main").write_text(text)
        refused(info(), refs / "main", "commit")
    (refs / "main").write_text(hub.commit + "\n")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    folder = snapshot(cache, hub)
    folder.mkdir(parents=True)
    (folder / WEIGHTS).symlink_to(tmp_path / "nowhere")
    lock = cache / ".locks" / FOLDER / f"{etag_of('config.json', hub.files['config.json'])}.lock"
    lock.parent.mkdir(parents=True)
    lock.symlink_to(victim)
    refused(info(), lock.name)
    lock.unlink()
    is_whole(cache, hub, info)
    assert victim.read_bytes() == b"precious" and not (tmp_path / "nowhere").exists()


def test_a_cache_that_cannot_be_written(hub, info, tmp_path):
    (tmp_path / "file").write_text("")
    refused(info(HF_HUB_CACHE=str(tmp_path / "file/hub")), tmp_path / "file/hub")
