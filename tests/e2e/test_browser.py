"""The example for browsers in headless Chromium: a stream, a live query, events; and a page of a stranger."""

import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest

from tests.e2e.chromium import CHROMIUM, opened
from tests.stack import skein_stack

SITE = Path(__file__).parents[2] / "examples" / "browser" / "site"
ROWS = 300_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(not (SITE / "page.js").exists(), reason="`make browser` has not built the page"),
]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextmanager
def served():
    """The site, at an origin of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def site():
    with served() as site:
        yield site


@pytest.fixture(scope="module")
def skein(tmp_path_factory, site):
    with skein_stack(tmp_path_factory.mktemp("browser"), allowed_origins=site) as stack:
        stack.write("numbers", pa.table({"i": range(ROWS), "half": [i / 2 for i in range(ROWS)]}))
        stack.write("sales", pa.table({"country": ["NO", "SE"], "amount": [3, 1]}))
        yield stack


@pytest.fixture
def page(skein, site, tmp_path):
    with opened(f"{site}/?server={skein.http_url}", tmp_path) as page:
        yield page


def fill(page, field, text):
    page.value(f"document.getElementById('{field}').value = {text!r}")


def press(page, form):
    page.value(f"document.getElementById('{form}').requestSubmit()")


def shown(page, element):
    return page.value(f"document.getElementById('{element}').innerText")


def test_a_page_streams_a_query(page):
    fill(page, "sql", "SELECT i, half FROM numbers ORDER BY i")
    press(page, "ask")
    done = page.until("document.getElementById('progress').innerText.match(/.*done$/)?.[0]")
    assert done.startswith(f"{ROWS:,} rows")
    rows = page.value("[...document.querySelectorAll('#rows tr')].slice(0, 3).map((row) => row.innerText)")
    assert rows == ["i\thalf", "0\t0", "1\t0.5"]
    assert shown(page, "failure") == ""


def test_a_page_shows_what_is_wrong_with_a_query(page):
    fill(page, "sql", "SELECT nothing FROM numbers")
    press(page, "ask")
    assert "nothing" in page.until("document.getElementById('failure').innerText")


def test_a_page_follows_a_live_query_and_the_events(page, skein):
    fill(
        page,
        "live-sql",
        "SELECT country, sum(amount) AS amount FROM sales GROUP BY country ORDER BY amount DESC",
    )
    press(page, "follow")
    page.until("document.getElementById('live-state').innerText.startsWith('result 1 ')")
    assert shown(page, "bars").split() == ["NO", "3", "SE", "1"]
    skein.write("sales", pa.table({"country": ["SE"], "amount": [9]}))
    page.until("document.getElementById('live-state').innerText.startsWith('result 2 ')")
    assert shown(page, "bars").split() == ["SE", "10", "NO", "3"]
    assert "dataset.committed" in page.until("document.getElementById('events').innerText")


def test_a_page_of_another_site_gets_nothing(skein, tmp_path):
    with served() as stranger, opened(f"{stranger}/?server={skein.http_url}", tmp_path) as page:
        press(page, "ask")
        assert "TypeError" in page.until("document.getElementById('failure').innerText")
        assert shown(page, "events") == ""
        assert shown(page, "rows") == ""
