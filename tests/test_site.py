"""The built site in a browser: no page scrolls sideways, lacks a file or has an error.

At the width of a phone and of a desk; every link within the site leads somewhere.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgeprune.bench.devices import browser

ROOT = Path(__file__).parents[1]
PHONE, DESK = 390, 1280  # pixels; what a desk shows is looked at on a few pages
# a page after the other in a frame of each width; what is wrong with it goes back to the server
WALK = """<!doctype html><meta charset=utf-8><body></body><script>
const pages = PAGES, links = new Set();
var found = [];
const quiet = f => new Promise(done => f.onload = () => setTimeout(done, 50));
(async () => {
  for (const [width, page] of pages) {
    const frame = document.createElement("iframe");
    frame.style = `width:${width}px;height:800px;border:0`;
    document.body.append(frame);
    const ready = quiet(frame); frame.src = page; await ready;
    const inside = frame.contentDocument, root = inside.documentElement;
    const over = [...inside.querySelectorAll("article *")].filter(e =>
      !e.closest("pre, code, .md-typeset__table, .md-typeset__scrollwrap")
      && e.getBoundingClientRect().right > width + 1);
    found.push([width, page, root.scrollWidth, over.map(e => e.tagName + " " + e.textContent.slice(0, 40)),
                inside.querySelector("h1")?.textContent ?? ""]);
    for (const a of inside.querySelectorAll("a[href]"))
      if (a.origin === location.origin) links.add(a.pathname + a.hash);
    frame.remove();
  }
  await fetch("/said", {method: "POST", body: JSON.stringify({found, links: [...links]})});
})().catch(e => fetch("/said", {method: "POST", body: JSON.stringify({error: String(e)})}));
onerror = e => found.push([0, "", 0, [String(e)], ""]);
</script>"""
# in each page's head: what the page itself says of an error
HOOK = b"""<head><script>
const tell = (...words) => parent.found.push([0, location.pathname, 0, words.map(String), ""]);
onerror = tell; onunhandledrejection = e => tell(e.reason); console.error = tell;
</script>"""


class Served(SimpleHTTPRequestHandler):
    """The site, the page that walks through it, and the place where it tells what it saw."""

    walk = b""
    said: queue.Queue[dict[str, Any]]
    missing: list[str]

    def do_GET(self) -> None:
        file = Path(self.translate_path(self.path)) / "index.html"
        if self.path == "/walk":
            self.page(self.walk)
        elif file.is_file():
            self.page(file.read_bytes().replace(b"<head>", HOOK, 1))
        else:
            super().do_GET()

    def page(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.said.put(json.loads(body))

    def send_error(self, code: int, *words: Any, **more: Any) -> None:
        self.missing.append(f"{code} {self.path}")
        super().send_error(code, *words, **more)

    def log_message(self, *_: Any) -> None:
        """Nothing: what is missing is in ``missing``."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    words = ["-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_it_builds_without_a_warning(site: Path) -> None:
    assert (site / "commands/prune/index.html").is_file()


@pytest.mark.skipif(browser.chromium() is None, reason="needs Chromium: apt-get install chromium")
def test_every_page_in_a_browser(site: Path) -> None:
    pages = sorted(
        f"/{p.parent.relative_to(site)}/".replace("/./", "/") for p in site.rglob("index.html")
    )
    wide = [p for p in pages if p in ("/", "/reference/", "/features/", "/commands/prune/")]
    visits = [*((PHONE, p) for p in pages), *((DESK, p) for p in wide)]
    walk = WALK.replace("PAGES", json.dumps(visits))
    told: queue.Queue[dict[str, Any]] = queue.Queue()
    missing: list[str] = []
    kind = type("Kind", (Served,), {"walk": walk.encode(), "said": told, "missing": missing})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with browser.headless(f"http://127.0.0.1:{server.server_port}/walk"):
            seen = told.get(timeout=300)
        server.shutdown()
    assert "error" not in seen, seen
    assert [row for row in seen["found"] if row[2] > row[0] or row[3] or not row[4]] == []
    assert len(seen["found"]) == len(visits)
    assert [m for m in missing if "favicon" not in m] == []
    dead = [a for a in seen["links"] if not _leads(site, a)]
    assert dead == []


def _leads(site: Path, link: str) -> bool:
    """Is there the file of a link, and in it what stands behind the #?"""
    path, _, anchor = link.partition("#")
    file = site / path.lstrip("/")
    file = file / "index.html" if file.is_dir() else file
    return file.is_file() and (not anchor or f'id="{anchor}"' in file.read_text())
