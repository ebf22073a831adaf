"""A hub on a free port, as far as huggingface_hub needs one to push and fetch folders: models alone, in memory."""

import base64
import hashlib
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_tests"


@dataclass
class Repository:
    """A model on the hub."""

    private: bool
    commits: list[dict[str, bytes]] = field(default_factory=lambda: [{".gitattributes": b""}])
    messages: list[str] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1]


@dataclass
class Hub:
    """What the server holds, and each request in a line."""

    url: str = ""
    models: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def sha(number: int) -> str:
    """The commit of this number."""
    return digest(str(number).encode())


class Handler(BaseHTTPRequestHandler):
    """The routes that are asked for; any other is 404."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(self, status: int, body: Any = None, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, {"error": code}, X_Error_Code=code, X_Error_Message=code)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        path = self.path.partition("?")[0].strip("/").split("/")
        if path == ["api", "whoami-v2"]:
            return self.answer(200, {"name": "team", "type": "user"}) if known else self.refuse(401, "Unauthorized")
        id_ = "/".join(path[2:4] if path[0] == "api" else path[:2])
        model = self.hub.models.get(id_)
        if model is None or (model.private and not known):
            return self.refuse(404, "RepoNotFound")
        rest = path[4:] if path[0] == "api" else path[2:]
        commits = {sha(i): files for i, files in enumerate(model.commits)}
        head = sha(len(commits) - 1)
        commit = head if len(rest) < 2 or rest[1] == "main" else rest[1]
        files = commits.get(commit)
        if files is None:
            return self.refuse(404, "RevisionNotFound")
        if rest[:1] == ["resolve"]:
            data = files.get("/".join(rest[2:]))
            if data is None:
                return self.refuse(404, "EntryNotFound")
            return self.answer(200, data, ETag=f'"{digest(data)}"', X_Repo_Commit=commit)
        if rest[:1] == ["tree"]:
            if rest[2:]:  # no folder inside of a repository
                return self.refuse(404, "EntryNotFound")
            return self.answer(
                200, [{"type": "file", "path": p, "size": len(d), "oid": digest(d)} for p, d in files.items()]
            )
        siblings = [{"rfilename": name} for name in files]
        return self.answer(200, {"id": id_, "sha": commit, "private": model.private, "siblings": siblings})

    def do_POST(self) -> None:
        self.hub.asked.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0].strip("/").split("/")
        if path == ["api", "validate-yaml"]:
            return self.answer(200, {"errors": [], "warnings": []})
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.refuse(401, "Unauthorized")
        if path == ["api", "repos", "create"]:
            made = json.loads(body)
            id_ = f"{made.get('organization') or 'team'}/{made['name']}"
            if id_ in self.hub.models:
                return self.answer(409, {"error": "exists", "url": f"{self.hub.url}/{id_}"})
            if not id_.startswith("team/"):
                return self.refuse(403, "Forbidden")
            private = made.get("private") or made.get("visibility") == "private"
            self.hub.models[id_] = Repository(bool(private))
            return self.answer(200, {"url": f"{self.hub.url}/{id_}", "id": id_})
        model = self.hub.models["/".join(path[2:4])]
        if path[4] == "preupload":
            asked = [one["path"] for one in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for name in asked]
            return self.answer(200, {"files": modes})
        lines = [json.loads(line) for line in body.splitlines()]
        new = {
            one["value"]["path"]: base64.b64decode(one["value"]["content"]) for one in lines if one["key"] == "file"
        }
        model.commits.append({**model.files, **new})
        model.messages += [one["value"]["summary"] for one in lines if one["key"] == "header"]
        oid = sha(len(model.commits) - 1)
        return self.answer(
            200, {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{'/'.join(path[2:4])}/commit/{oid}"}
        )


@contextmanager
def hub_server() -> Generator[Hub]:
    """An empty hub; the account `team` may write with `TOKEN`."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
