"""A hub on the loopback interface: the API, small files by git's digest, large ones on a second
server that stands for the storage. Tests bend single answers."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

LARGE = (".safetensors", ".bin")


def etag_of(name, content):
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Request:
    def __init__(self, server, method, path, headers):
        self.server, self.method, self.path, self.headers = server, method, path, headers
        self.name = path.rsplit("/", 1)[-1]


class Answer:
    """`body` may be longer or shorter than `Content-Length`, and may be a generator."""

    def __init__(self, status=200, body=b"", **headers):
        self.status, self.body = status, body
        self.headers = {k.replace("_", "-"): str(v) for k, v in headers.items()}


class Hub:
    """Serves `files` as org/name; `bend(request, answer)` may change or replace any answer."""

    def __init__(self, files, name="org/name", commit="0123456789abcdef0123456789abcdef01234567"):
        self.files, self.name, self.commit = files, name, commit
        self.requests = []
        self.bend = lambda request, answer: None
        self.lock = threading.Lock()
        self.front = self._serve("hub", self._front)
        self.storage = self._serve("storage", self._storage)
        self.endpoint = f"http://127.0.0.1:{self.front.server_port}"

    def close(self):
        for server in (self.front, self.storage):
            server.shutdown()
            server.server_close()

    def asked(self, server=None, method=None, ending=""):
        return [r for r in self.requests
                if (server or r.server) == r.server and (method or r.method) == r.method
                and r.path.endswith(ending)]

    def _serve(self, label, respond):
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_any(self):
                request = Request(label, self.command, unquote(self.path), dict(self.headers))
                with hub.lock:
                    hub.requests.append(request)
                answer = respond(request)
                answer = hub.bend(request, answer) or answer
                self.send_response(answer.status)
                answer.headers.setdefault("Content-Length", str(len(answer.body)) if isinstance(
                    answer.body, bytes) else None)
                for key, value in answer.headers.items():
                    if value not in (None, "None"):
                        self.send_header(key, value)
                self.send_header("Connection", "close")
                self.close_connection = True
                self.end_headers()
                if self.command == "HEAD":
                    return
                try:
                    pieces = [answer.body] if isinstance(answer.body, bytes) else answer.body
                    for piece in pieces:
                        self.wfile.write(piece)
                except OSError:
                    pass  # the client has gone

            do_GET = do_HEAD = handle_any

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def _front(self, request):
        if request.path.startswith(f"/api/models/{self.name}/revision/"):
            if request.name not in ("main", "v1", self.commit):
                return Answer(404, X_Error_Code="RevisionNotFound")
            siblings = [{"rfilename": name} for name in self.files]
            return Answer(body=json.dumps({"sha": self.commit, "siblings": siblings}).encode())
        if request.path.startswith(f"/{self.name}/resolve/{self.commit}/"):
            content = self.files.get(request.path.split(f"/{self.commit}/")[-1])
            if content is None:
                return Answer(404, X_Error_Code="EntryNotFound")
            etag = f'"{etag_of(request.name, content)}"'
            if not request.name.endswith(LARGE):
                return ranged(request, Answer(body=content, ETag=etag, X_Repo_Commit=self.commit))
            return Answer(
                302, Location=f"http://127.0.0.1:{self.storage.server_port}/blob/{request.name}",
                X_Linked_Etag=etag, X_Linked_Size=len(content), X_Repo_Commit=self.commit)
        return Answer(404, X_Error_Code="RepoNotFound")

    def _storage(self, request):
        return ranged(request, Answer(body=self.files[request.name], ETag='"another"'))


def ranged(request, answer):
    """The part that a Range header asks for."""
    asked = request.headers.get("Range")
    if not asked:
        return answer
    begin, size = int(asked[len("bytes="):-1]), len(answer.body)
    if begin >= size:
        return Answer(416)
    answer.status, answer.body = 206, answer.body[begin:]
    answer.headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
    return answer
