"""A page that carries the page script under the strictest policy, and a server that notes what the script sends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.acceptance.policy import POLICY

SCRIPT = Path(__file__).resolve().parents[2] / "personalization" / "static" / "personalization" / "beacon.js"
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<link rel="stylesheet" href="/page.css"><link rel="icon" href="data:,">
<script src="/beacon.js" defer data-pz-endpoint="/events/" data-pz-token="owner:rest"></script></head><body>
<article id="top" data-pz-offer="7" data-pz-decision="d-1" data-pz-position="2">
<a id="take" href="#top">Take it</a></article>
<p class="tall"></p>
<article id="low" data-pz-item="p-9" data-pz-category="tea" data-pz-position="5"></article>
<p class="tall"></p>
<button id="add" data-pz-track="basket_changed" data-pz-item="p-1" data-pz-quantity="2">Add</button>
<form id="agree" data-pz-consent action="/other/"><button id="decline">Decline</button></form>
<a id="away" href="/other/">Away</a></body></html>"""
STYLE = ".tall { height: 3000px } article { height: 200px; background: #eee }"


@dataclass
class Site:
    """The address, and what the script has sent; ``status`` is what it is answered."""

    address: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    types: list[str] = field(default_factory=list)

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Return the events that were confirmed or not, each once, in the order of their arrival."""
        once = {event["id"]: event for body in list(self.bodies) for event in body["events"]}
        return [event for event in once.values() if kind in ("", event["type"])]

    def wait_for(self, kind: str, count: int = 1, seconds: float = 20.0) -> list[dict[str, Any]]:
        """Return the events of a type once there are so many."""
        until = time.monotonic() + seconds
        while len(self.events(kind)) < count:
            assert time.monotonic() < until, f"{kind}: {self.events()}"
            time.sleep(0.05)
        return self.events(kind)


@contextmanager
def serve() -> Iterator[Site]:
    """Serve the page at ``/`` and an empty one everywhere else."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            files = {"/": ("text/html", PAGE), "/page.css": ("text/css", STYLE)}
            files["/beacon.js"] = ("text/javascript", SCRIPT.read_text(encoding="utf-8"))
            kind, text = files.get(self.path.partition("?")[0], ("text/html", "<title>Other</title>"))
            self._answer(200, kind, text.encode())

        def do_POST(self) -> None:
            site.types.append(self.headers["Content-Type"])
            site.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(site.status, "text/plain", b"", **site.headers)

        def _answer(self, status: int, kind: str, body: bytes, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("Content-Type", kind)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
