"""Chromium without a driver: pages are opened in frames as wide as a screen, and a script in each says what it sees.

The pages and their answers go through a small server of this process, so that the browser is left as long as it needs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync", "remote-debugging-port=0", "window-size=1500,1000")  # fmt: skip
SECONDS = 60
"""How long a browser may take."""

ERRORS = """<script>
const errors = [];
window.addEventListener("error", (event) => errors.push(event.message));
window.addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
</script>"""
RUN = """<script>
(async () => {
  const wait = () => new Promise((done) => setTimeout(done, 20));
  while (document.documentElement.dataset.drawn !== "yes" && !errors.length) await wait();
  let found = null;
  try { found = await (async () => { %s })(); } catch (error) { errors.push(String(error)); }
  fetch("/%s", { method: "POST", body: JSON.stringify({ found, errors }) });
})();
</script>"""
"""In a page, after it is drawn: tells what the script returns."""


@dataclass(frozen=True)
class View:
    """A page in a frame.

    width: of the frame, in pixels; a window cannot be as narrow as a phone.
    script: the body of an asynchronous function in JavaScript, whose result is told.
    """

    page: Path
    width: int
    script: str


@dataclass
class Exchange:
    """pages: what is asked for, by its address. answers: what the pages told. complete: whether all did."""

    pages: Mapping[str, str]
    answers: dict[str, Any] = field(default_factory=dict)
    complete: Event = field(default_factory=Event)

    def told(self, name: str, answer: Any) -> None:
        self.answers[name] = answer
        if len(self.answers) == len(self.pages) - 1:  # all but the frames around them
            self.complete.set()

    def serve(self) -> ThreadingHTTPServer:
        """A server for it, running in a thread of its own."""
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = exchange.pages.get(self.path.strip("/"))
                self.send_response(404 if page is None else 200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write((page or "").encode())

            def do_POST(self) -> None:
                answer = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(204)
                self.end_headers()
                exchange.told(self.path.strip("/"), answer)

            def log_message(self, *_: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        return server


def seen(views: Mapping[str, View], folder: Path) -> dict[str, Any]:
    """What the script of each view returned, by the view's name. folder: for the browser's profile.

    Raises `AssertionError` for errors in a page, and for pages that tell nothing in time.
    """
    assert CHROMIUM is not None
    pages = {name: _with_script(name, view) for name, view in views.items()}
    frames = [f'<iframe src="/{name}" style="width: {view.width}px; height: 900px; border: 0"></iframe>'
              for name, view in views.items()]  # fmt: skip
    exchange = Exchange({**pages, "frames": "<!DOCTYPE html>" + "\n".join(frames)})
    server = exchange.serve()
    flags = [f"--{flag}" for flag in (*FLAGS, f"user-data-dir={folder / 'profile'}")]
    command = [CHROMIUM, *flags, f"http://127.0.0.1:{server.server_port}/frames"]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert exchange.complete.wait(SECONDS), f"nothing told by {set(views) - set(exchange.answers)}"
    finally:
        browser.terminate()
        browser.wait(SECONDS)
        server.shutdown()
        server.server_close()

    wrong = {name: answer["errors"] for name, answer in exchange.answers.items() if answer["errors"]}
    assert not wrong, f"errors in pages: {wrong}"
    return {name: answer["found"] for name, answer in exchange.answers.items()}


def _with_script(name: str, view: View) -> str:
    content = view.page.read_text(encoding="utf-8").replace("<head>", f"<head>{ERRORS}", 1)
    return content.replace("</body>", f"{RUN % (view.script, name)}</body>")
