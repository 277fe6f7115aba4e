"""The server's own page in headless Chromium: datasets, queries, a token where one is needed."""

import re
from pathlib import Path

import pyarrow as pa
import pytest

from tests.e2e.chromium import CHROMIUM, opened
from tests.stack import skein_stack

NETWORK = Path(__file__).parents[2] / "docs/how-to/network.md"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def skein(tmp_path_factory):
    with skein_stack(tmp_path_factory.mktemp("page"), tokens="ann=s3cret") as stack:
        stack.write("two-words", pa.table({"n": [1, 2**60, None], "t": ["a", "<b>", "c"]}))
        yield stack


@pytest.fixture(scope="module")
def page(skein, tmp_path_factory):
    with opened(skein.http_url, tmp_path_factory.mktemp("profile")) as page:
        for token, told in (("wrong", "server wants a token"), ("s3cret", "token is not known")):
            page.until(f"document.getElementById('note').innerText.includes({told!r})")
            page.value(f"document.getElementById('token').value = {token!r}")
            submit(page, "login")
        page.until("!!document.querySelector('#datasets a')")
        yield page


def submit(page, form):
    page.value(f"document.getElementById('{form}').requestSubmit()")


def ask(page, sql):
    page.value(f"document.getElementById('sql').value = {sql!r}")
    submit(page, "ask")


def outcome(page):
    return page.until(
        "document.getElementById('stop').disabled && document.getElementById('outcome').innerText"
    )


def test_a_dataset_is_listed_with_its_columns(page):
    line = page.value("document.querySelector('#datasets tr').innerText")
    assert line.split("\t")[:3] == ["two-words", "0", "3"]
    assert line.endswith("n, t")


def test_a_click_on_a_dataset_shows_its_rows(page):
    page.value("document.querySelector('#datasets a').click()")
    assert outcome(page).startswith("3 rows, ")
    lines = page.value(
        "[...document.querySelectorAll('#result tr')].map((row) => row.innerText.split('\\t'))"
    )
    assert lines[1:] == [["1", "a"], [str(2**60), "<b>"], ["null", "c"]]


def test_times_are_shown_without_empty_fractions(page):
    ask(page, "SELECT '2001-01-01 00:04:00'::TIMESTAMP AS a, '2001-01-01 00:04:00.05Z'::TIMESTAMPTZ AS b")
    assert outcome(page).startswith("1 row, ")
    shown = page.value("document.querySelector('#result tr:last-child').innerText")
    assert shown == "2001-01-01T00:04:00\t2001-01-01T00:04:00.050000Z"


def test_numbers_have_bars(page):
    ask(page, "SELECT unnest([1, 4, NULL]) AS n")
    assert outcome(page).startswith("3 rows, ")
    drawn = (
        "[...document.querySelectorAll('#result td')].map((cell) => getComputedStyle(cell).backgroundImage)"
    )
    bars = page.value(drawn)
    assert ["gradient" in bar for bar in bars] == [True, True, False]


def test_mistakes_and_changes_are_told(page):
    ask(page, "SELECT * FROM two_words")
    assert "did you mean 'two-words'" in outcome(page)
    assert page.value("document.getElementById('result').innerText") == ""
    ask(page, "CREATE TABLE own AS FROM range(3)")
    assert outcome(page).startswith("3 rows changed, ")
    ask(page, "FROM range(5000)")
    assert outcome(page).startswith("the first 1,000 rows, ")


def test_a_long_text_does_not_push_other_columns_away_and_is_told_whole(page):
    ask(page, "SELECT repeat('lorem ', 1000) AS long, 1 AS n")
    assert outcome(page).startswith("1 row, ")
    place = "document.querySelector('#result td:last-child').getBoundingClientRect().right"
    assert page.value(place) <= page.value("innerWidth")
    assert page.value("document.querySelector('#result td').title") == "lorem " * 1000


@pytest.mark.parametrize("path", ["docs", "redoc"])
def test_the_pages_of_the_api_load_nothing_from_elsewhere(skein, tmp_path, path):
    with opened(f"{skein.http_url}/{path}", tmp_path) as page:
        page.until("document.body.innerText.includes('List Datasets')")
        assert page.complaints() == []


def test_the_page_keeps_up_with_the_datasets(page, skein):
    skein.write("a-new-one", pa.table({"n": [1]}))
    page.until("document.getElementById('datasets').innerText.includes('a-new-one')")


def test_a_socket_opens_with_a_token_as_the_guide_says(page):
    opened = re.search(r"new WebSocket\(url, .*\)\)?(?=`)", NETWORK.read_text())
    first = page.value(
        f"""(() => {{
            const url = location.origin.replace("http", "ws") + "/api/v1/events";
            const token = "s3cret";
            const socket = {opened[0]};
            return new Promise((done) => {{
                socket.onmessage = (message) => done(JSON.parse(message.data).type);
                socket.onerror = () => done("refused");
            }});
        }})()"""
    )
    assert first == "skein.hello"


def test_many_datasets_leave_the_question_within_sight(page, skein):
    for number in range(40):
        skein.write(f"more_{number:02}", pa.table({"n": [1]}))
    page.value("showDatasets()")
    assert page.value("document.querySelectorAll('#datasets tr').length") > 40
    assert page.value("document.getElementById('sql').getBoundingClientRect().top < innerHeight")


def test_a_query_can_be_stopped(page, skein):
    ask(page, "SELECT sum(a.range * b.range) FROM range(1000000) a, range(100000000) b")
    page.value("document.getElementById('stop').click()")
    assert outcome(page) == "stopped"
    ask(page, "SELECT 1")
    assert outcome(page).startswith("1 row, ")
