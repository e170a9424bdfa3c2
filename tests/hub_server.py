"""A small Hugging Face hub on 127.0.0.1: downloads with ranges and revisions, uploads by commit and LFS, and faults on demand."""

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Callable
from urllib.parse import unquote

import yaml

#: Endings of files that go to LFS.
LFS = (".safetensors", ".parquet", ".tar", ".bin")
LICENCES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "openrail++", "other"}
PIPELINES = {"feature-extraction", "image-feature-extraction"}


def metadata_errors(body: dict) -> list[str]:
    """What the hub refuses in the metadata of a card; of the names it knows only those that tests use."""
    found = re.match(r"---\n(.*?)\n---\n", body["content"], re.DOTALL)
    if not found:
        return []
    data, errors = yaml.safe_load(found[1]), []
    if data.get("license") is not None and data["license"] not in LICENCES:
        errors.append(f'"license" must be one of {sorted(LICENCES)}')
    if data.get("license") == "other" and not re.fullmatch(r"[a-z0-9-.]+", data.get("license_name", "")):
        errors.append('"license_name" must be lower case, without spaces')
    if data.get("pipeline_tag", "feature-extraction") not in PIPELINES:
        errors.append('"pipeline_tag" is not known')
    for key in ("tags", "base_model", "datasets", "size_categories"):
        if not isinstance(data.get(key, []), list) or not all(isinstance(v, str) for v in data.get(key, [])):
            errors.append(f'"{key}" must be a list of strings')
    return errors


class Hub:
    """Repositories in memory.

    Attributes:
        repos: id -> revision -> file name -> bytes; branches and commits are both revisions.
        private, gated: ids that need the token `good-token`.
        cut: file name -> how many bytes are sent before the connection breaks, once.
        requests: (method, path) of everything that was asked.
        broken: path -> whether it answers; asked each time.

    Data sets are stored under `datasets--org/name`.
    """

    def __init__(self, port: int) -> None:
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.cut: dict[str, int] = {}
        self.requests: list[tuple[str, str]] = []
        self.lfs: dict[str, bytes] = {}
        self.broken: dict[str, Callable[[], bool]] = {}
        self.port = port

    def add(self, repo: str, files: dict[str, bytes], *, revision: str = "main") -> str:
        """Store files as a commit and point `revision` at it; returns the commit."""
        commit = hashlib.sha1(json.dumps({k: hashlib.sha1(v).hexdigest() for k, v in files.items()}).encode()).hexdigest()
        self.repos.setdefault(repo, {})[revision] = self.repos[repo][commit] = dict(files)
        return commit

    def page(self, repo: str) -> str:
        """Address of a repository's page."""
        return f"http://127.0.0.1:{self.port}/{repo.replace('datasets--', 'datasets/')}"

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
        if path in self.hub.broken and self.hub.broken[path]() is False:
            return self._error(400, "Broken", "broken on demand")
        path = re.sub(r"^(/api)?/datasets/", lambda m: "/api/models/datasets--" if m[1] else "/datasets--", path)
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
            errors = metadata_errors(json.loads(body))
            return self._json({"errors": [{"message": e} for e in errors], "warnings": []}, 400 if errors else 200)
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
        name = repo.removeprefix("datasets--")
        self._json({"id": name, "sha": sha, "siblings": [{"rfilename": n} for n in files], "private": repo in self.hub.private})

    def _tree(self, repo: str, revision: str) -> None:
        if not self._allowed(repo):
            return
        if revision not in self.hub.repos[repo]:
            return self._error(404, "RevisionNotFound")
        files = self.hub.repos[repo][revision].items()
        entries: list[dict] = [{"type": "file", "path": n, "size": len(d), "oid": hashlib.sha1(d).hexdigest()} for n, d in files]
        for entry, (name, data) in zip(entries, files, strict=True):
            if name.endswith(LFS):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        self._json(entries)

    def _create(self, body: dict) -> None:
        if self.headers.get("Authorization") != "Bearer good-token":
            return self._error(401, "Unauthorized", "Invalid username or password.")
        repo = f"{body['organization']}/{body['name']}" if body.get("organization") else body["name"]
        repo = f"datasets--{repo}" if body.get("type") == "dataset" else repo
        if repo in self.hub.repos:
            return self._json({"url": self.hub.page(repo), "error": "exists"}, 409)
        self.hub.add(repo, {})
        if body.get("private") or body.get("visibility") == "private":
            self.hub.private.add(repo)
        self._json({"url": self.hub.page(repo), "id": repo.removeprefix("datasets--")})

    def _upload(self, repo: str, step: str, revision: str, body: bytes) -> None:
        if step == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LFS) else "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        files = dict(self.hub.repos[repo].get(revision, {}))
        for line in body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            elif entry["key"] == "deletedFile":
                files.pop(entry["value"]["path"], None)
            elif entry["key"] == "lfsFile":
                files[entry["value"]["path"]] = self.hub.lfs[entry["value"]["oid"]]
        commit = self.hub.add(repo, files, revision=revision)
        url = f"{self.hub.page(repo)}/commit/{commit}"
        self._json({"commitUrl": url, "commitOid": commit, "success": True})

    def _lfs_batch(self, body: dict) -> None:
        objects = []
        for o in body["objects"]:
            href = f"http://127.0.0.1:{self.hub.port}/lfs/{o['oid']}"
            objects.append(o if o["oid"] in self.hub.lfs else {**o, "actions": {"upload": {"href": href, "header": {}}}})
        payload = json.dumps({"transfer": "basic", "objects": objects}).encode()
        self._send(200, payload, {"Content-Type": "application/vnd.git-lfs+json"})
