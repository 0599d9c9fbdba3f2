# SPDX-License-Identifier: Apache-2.0
"""A hub on this machine: what huggingface.co answers to /api/models and /resolve, with large files on a second port (the
CDN), and faults on demand. Standard library only."""
import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Repo:
    """Files by name; those in `large` lie in LFS, on the CDN."""

    def __init__(self, files, large=(), refs=None, token=None, gated=False):
        self.files = {name: c.encode() if isinstance(c, str) else c for name, c in files.items()}
        self.large = {n for n in self.files if n in large or n.endswith((".safetensors", ".rknn", ".bin", ".onnx"))}
        self.commit = hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()
        self.refs = refs or {"main": self.commit}
        self.token, self.gated = token, gated
        self.extra = []  # further entries of the listing
        self.bare = False  # a mirror that does not know ?blobs=true

    def listing(self, blobs):
        siblings = []
        for name, content in sorted(self.files.items()):
            entry = {"rfilename": name}
            if blobs and not self.bare:
                entry.update(size=len(content), blobId=git_sha1(content))
                if name in self.large:
                    entry["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        return {"id": "x", "modelId": "x", "sha": self.commit, "siblings": siblings + self.extra, "private": False,
                "gated": self.gated, "tags": [], "downloads": 0, "likes": 0}

    def tree(self):
        out = []
        for name, content in sorted(self.files.items()):
            entry = {"type": "file", "path": name, "size": len(content), "oid": git_sha1(content)}
            if name in self.large:
                entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
                entry["xetHash"] = sha256(b"xet" + content)
            out.append(entry)
        return out


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        if "Content-Length" not in dict(headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fail(self, status, code=None, message=None, headers=()):
        more = dict(headers)
        if code:
            more["X-Error-Code"] = code
        if message:
            more["X-Error-Message"] = message
        self.answer(status, b'{"error": "x"}', more)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.server.hub
        path = urllib.parse.urlsplit(self.path)
        hub.requests.append((self.server.role, self.command, self.path, dict(self.headers)))
        fault = hub.take_fault(self.server.role, path.path)
        try:
            if fault and fault(self):
                return
            if self.server.role == "cdn":
                self.send_content(hub.blobs[path.path.rsplit("/", 1)[1]], {"ETag": '"of-the-cdn"'}, fault)
            else:
                self.route(urllib.parse.unquote(path.path), path, fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    # ---- the hub

    def repo_for(self, name, revision):
        hub = self.server.hub
        repo = hub.repos.get(name)
        auth = self.headers.get("Authorization")
        if auth == "Bearer expired":
            self.fail(401, message="Invalid credentials in Authorization header")
        elif repo is None or (repo.token and auth != "Bearer " + repo.token and not repo.gated):
            self.fail(401 if not auth else 404, None if not auth else "RepoNotFound", "Repository not found")
        elif revision not in repo.refs and revision != repo.commit:
            self.fail(404, "RevisionNotFound", "Invalid rev id: " + revision)
        else:
            return repo
        return None

    def route(self, path, split, fault):
        hub = self.server.hub
        api = re.fullmatch(r"/api/models/([^/]+(?:/[^/]+)?)/(revision|tree)/(.+)", path)
        plain = re.fullmatch(r"/api/models/([^/]+(?:/[^/]+)?)", path)
        file = re.fullmatch(r"/([^/]+(?:/[^/]+)?)/resolve/(.+)", path)
        if api or plain:
            name = (api or plain).group(1)
            if name in hub.moved:
                return self.answer(307, b"", {"Location": self.path.replace(name, hub.moved[name], 1)})
            repo = self.repo_for(name, api.group(3).rstrip("/") if api else "main")
            if repo is None:
                return None
            what = repo.tree() if api and api.group(2) == "tree" else repo.listing("blobs" in split.query)
            return self.answer(200, json.dumps(what).encode(), {"Content-Type": "application/json"})
        if file:
            return self.send_file(file.group(1), urllib.parse.urlsplit(self.path).path, fault)
        return self.fail(404)

    def send_file(self, name, raw, fault):
        hub = self.server.hub
        if name in hub.moved:
            return self.answer(307, b"", {"Location": raw.replace(name, hub.moved[name], 1)})
        revision, _, quoted = raw.split("/resolve/", 1)[1].partition("/")
        repo = self.repo_for(name, urllib.parse.unquote(revision))
        if repo is None:
            return None
        if repo.gated and self.headers.get("Authorization") != "Bearer " + repo.token:
            return self.fail(401 if "Authorization" not in self.headers else 403, "GatedRepo", "Access is restricted")
        content = repo.files.get(urllib.parse.unquote(quoted))
        if content is None:
            return self.fail(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes", "RateLimit": '"resolvers";r=2999;t=280',
                   "RateLimit-Policy": '"fixed window";"resolvers";q=3000;w=300'}
        if urllib.parse.unquote(quoted) in repo.large:
            headers.update({"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content)),
                            "Location": f"{hub.cdn_url}/blob/{sha256(content)}", "ETag": '"of-the-redirect"',
                            "X-Xet-Hash": sha256(b"xet" + content),
                            "Link": f'<{hub.url}/api/models/{name}/xet-read-token/{repo.commit}>; rel="xet-auth", '
                                    f'<https://cas.invalid/v1/reconstructions/{sha256(content)}>; '
                                    f'rel="xet-reconstruction-info"'})
            return self.answer(302, b"Found", headers)
        headers["ETag"] = f'"{git_sha1(content)}"'
        return self.send_content(content, headers, fault)

    def send_content(self, content, headers, fault):
        begin, status = 0, 200
        ranged = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if ranged and getattr(fault, "ranges", True):
            begin, status = int(ranged.group(1)), 206
            if begin >= len(content):
                return self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if self.command != "HEAD":
            getattr(fault, "body", whole)(self, content[begin:])
        return None


def whole(handler, content):
    handler.wfile.write(content)


class Fault:
    """Calling it may answer; else `body` writes what was asked for, in its own way."""

    ranges = True
    body = staticmethod(whole)

    def __call__(self, handler):
        return False


class Status(Fault):
    def __init__(self, status, headers=(), code=None):
        self.status, self.headers, self.code = status, headers, code

    def __call__(self, handler):
        handler.fail(self.status, self.code, headers=self.headers)
        return True


class Cut(Fault):
    """The connection breaks after so many bytes."""

    def __init__(self, after):
        self.after = after

    def body(self, handler, content):
        handler.wfile.write(content[: self.after])
        handler.wfile.flush()
        handler.close_connection = True
        handler.connection.shutdown(2)


class Drip(Fault):
    """So many bytes, then silence, then the rest."""

    def __init__(self, after, seconds):
        self.after, self.seconds = after, seconds

    def body(self, handler, content):
        handler.wfile.write(content[: self.after])
        handler.wfile.flush()
        time.sleep(self.seconds)
        handler.wfile.write(content[self.after :])


class Hold(Fault):
    """So many bytes, then nothing until release() (or half a minute later)."""

    def __init__(self, after):
        self.after, self.event = after, threading.Event()
        self.release = self.event.set

    def body(self, handler, content):
        handler.wfile.write(content[: self.after])
        handler.wfile.flush()
        self.event.wait(30)
        handler.wfile.write(content[self.after :])


class Wrong(Fault):
    """Other bytes of the same length."""

    def body(self, handler, content):
        handler.wfile.write(bytes(b ^ 1 for b in content))


class Whole(Fault):
    """A server that knows no ranges."""

    ranges = False


class FakeHub:
    """repos: {"org/name": Repo}; moved: {"name": "org/name"}. fault("hub"|"cdn", part of the path, Fault, times)."""

    def __init__(self, repos, moved=(), tls=None):
        self.repos, self.moved = dict(repos), dict(moved)
        self.requests, self.faults, self.lock = [], [], threading.Lock()
        self.servers = [self.serve(role, tls) for role in ("hub", "cdn")]
        scheme = "https" if tls else "http"
        self.url, self.cdn_url = (f"{scheme}://localhost:{s.server_address[1]}" for s in self.servers)

    def serve(self, role, tls):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.handle_error = lambda *args: None  # clients that go away
        server.daemon_threads, server.hub, server.role = True, self, role
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return server

    @property
    def blobs(self):
        return {sha256(c): c for repo in self.repos.values() for c in repo.files.values()}

    def fault(self, role, part, fault, times=1):
        self.faults.append([role, part, fault, times])

    def take_fault(self, role, path):
        with self.lock:
            for f in self.faults:
                if f[0] == role and f[1] in path and f[3] > 0:
                    f[3] -= 1
                    return f[2]
        return None

    def asked(self, role, part="", command="GET"):
        return [r for r in self.requests if r[0] == role and part in r[2] and r[1] == command]

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()
