"""A small Hugging Face hub on 127.0.0.1: downloads with ranges and revisions, uploads by commit and LFS, and faults on demand."""

import base64
import hashlib
import http.server
import json
import re
import threading
from urllib.parse import unquote


class Hub:
    """Repositories in memory.

    Attributes:
        repos: id -> revision -> file name -> bytes; branches and commits are both revisions.
        private, gated: ids that need the token `good-token`.
        cut: file name -> how many bytes are sent before the connection breaks, once.
        requests: (method, path) of everything that was asked.
    """

    def __init__(self, port: int) -> None:
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.cut: dict[str, int] = {}
        self.requests: list[tuple[str, str]] = []
        self.lfs: dict[str, bytes] = {}
        self.port = port

    def add(self, repo: str, files: dict[str, bytes], *, revision: str = "main") -> str:
        """Store files as a commit and point `revision` at it; returns the commit."""
        commit = hashlib.sha1(json.dumps({k: hashlib.sha1(v).hexdigest() for k, v in files.items()}).encode()).hexdigest()
        self.repos.setdefault(repo, {})[revision] = self.repos[repo][commit] = dict(files)
        return commit

    def commit_of(self, repo: str, revision: str) -> str:
        files = self.repos[repo][revision]
        return next(c for c, f in self.repos[repo].items() if len(c) == 40 and f == files)

    def start(self) -> None:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None: ...

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_GET(self) -> None:
        self._route("GET")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    # --- answers ---

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for k, v in (headers or {}).items():
            self.send_header(k, v)
        self.send_header("Connection", "close")  # a kept connection would outlive its server, into the next test
        self.close_connection = True
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, data: object, status: int = 200) -> None:
        self._send(status, json.dumps(data).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, text: str = "") -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": text or code})

    def _route(self, method: str) -> None:
        path = unquote(self.path.split("?")[0])
        self.hub.requests.append((method, path))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if m := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(method, *m.groups())
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if m := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/([^/]+)", path):
            return self._upload(m[1], m[2], m[3], body)
        if m := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._lfs_batch(json.loads(body))
        if m := re.fullmatch(r"/lfs/([0-9a-f]+)", path):
            self.hub.lfs[m[1]] = body
            return self._send(200)
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if m := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            return self._tree(m[1], m[2])
        if m := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            return self._info(m[1], m[2] or "main")
        return self._error(404, "EntryNotFound", path)

    def _allowed(self, repo: str) -> bool:
        """True where the request may see `repo`; otherwise the hub's own refusal was sent."""
        token = self.headers.get("Authorization") == "Bearer good-token"
        if repo not in self.hub.repos or (repo in self.hub.private and not token):
            self._error(401, "RepoNotFound", "Invalid username or password.")
            return False
        if repo in self.hub.gated and not token:
            self._error(401, "GatedRepo", f"Access to model {repo} is restricted.")
            return False
        return True

    def _resolve(self, method: str, repo: str, revision: str, name: str) -> None:
        if not self._allowed(repo):
            return
        if revision not in self.hub.repos[repo]:
            return self._error(404, "RevisionNotFound")
        files = self.hub.repos[repo][revision]
        if name not in files:
            return self._error(404, "EntryNotFound")
        data = files[name]
        head = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": self.hub.commit_of(repo, revision),
            "Accept-Ranges": "bytes",
        }
        status, part = 200, data
        if m := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            status, part = 206, data[int(m[1]) :]
            head["Content-Range"] = f"bytes {m[1]}-{len(data) - 1}/{len(data)}"
        if method == "GET" and name in self.hub.cut:
            whole = len(part)
            part = part[: self.hub.cut.pop(name)]
            self._send(status, part, {**head, "Content-Length": str(whole)})
            return
        self._send(status, part, {**head, "Content-Length": str(len(part))})

    def _info(self, repo: str, revision: str) -> None:
        if not self._allowed(repo):
            return
        if revision not in self.hub.repos[repo]:
            return self._error(404, "RevisionNotFound")
        files = self.hub.repos[repo][revision]
        sha = self.hub.commit_of(repo, revision)
        self._json({"id": repo, "sha": sha, "siblings": [{"rfilename": n} for n in files], "private": repo in self.hub.private})

    def _tree(self, repo: str, revision: str) -> None:
        if not self._allowed(repo):
            return
        if revision not in self.hub.repos[repo]:
            return self._error(404, "RevisionNotFound")
        files = self.hub.repos[repo][revision].items()
        self._json([{"type": "file", "path": n, "size": len(d), "oid": hashlib.sha1(d).hexdigest()} for n, d in files])

    def _create(self, body: dict) -> None:
        if self.headers.get("Authorization") != "Bearer good-token":
            return self._error(401, "Unauthorized", "Invalid username or password.")
        repo = f"{body['organization']}/{body['name']}" if body.get("organization") else body["name"]
        self.hub.add(repo, {})
        if body.get("private") or body.get("visibility") == "private":
            self.hub.private.add(repo)
        self._json({"url": f"http://127.0.0.1:{self.hub.port}/{repo}", "id": repo})

    def _upload(self, repo: str, step: str, revision: str, body: bytes) -> None:
        if step == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        files = dict(self.hub.repos[repo].get(revision, {}))
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.hub.lfs[entry["value"]["oid"]]
        commit = self.hub.add(repo, files, revision=revision)
        url = f"http://127.0.0.1:{self.hub.port}/{repo}/commit/{commit}"
        self._json({"commitUrl": url, "commitOid": commit, "success": True})

    def _lfs_batch(self, body: dict) -> None:
        objects = []
        for o in body["objects"]:
            href = f"http://127.0.0.1:{self.hub.port}/lfs/{o['oid']}"
            objects.append({**o, "actions": {"upload": {"href": href, "header": {}}}})
        payload = json.dumps({"transfer": "basic", "objects": objects}).encode()
        self._send(200, payload, {"Content-Type": "application/vnd.git-lfs+json"})
