"""Secrets by name: where they come from, and whom they are sent to."""

import pytest

from flight_core.adapters.secrets.named import NamedSecrets
from flight_core.adapters.sources.http import HttpSource
from flight_core.adapters.sources.web import HttpSourceOptions
from flight_core.domain.errors import SecretNotFound, SourceNotAllowed
from flight_core.domain.ingestion import SourceSpec
from tests.adapters.http_fetching import BODY
from tests.adapters.http_server import always, answer, serving


def fetching_with(secrets):
    return HttpSource(HttpSourceOptions(allow_loopback=True, attempts=1), secrets)


SECRET_HEADERS = {"X-Token": {"secret": "my-token", "prefix": "Bearer "}}


@pytest.mark.anyio
async def test_a_secret_is_sent_to_its_origin_and_not_beyond(fetch):
    source = fetching_with(NamedSecrets({"my_token": "hunter2"}))
    async with serving(always(answer(BODY))) as elsewhere:
        async with serving(always(answer(b"", "307 Moved", Location=elsewhere.url))) as server:
            spec = SourceSpec("http", {"url": server.url, "headers": SECRET_HEADERS})
            fetched = await source.fetch(spec, fetch.folder, fetch.report)
            assert server.requests[0].headers["x-token"] == "bearer hunter2"
        assert "x-token" not in elsewhere.requests[0].headers
    assert "hunter2" not in repr((fetched, source, spec))


def test_a_secret_that_is_missing_is_named_at_once():
    source = fetching_with(NamedSecrets({"other": "x"}))
    with pytest.raises(SecretNotFound, match=r"'my-token'.*SKEIN_SECRET_MY_TOKEN"):
        source.check(SourceSpec("http", {"url": "https://example.org", "headers": SECRET_HEADERS}))


@pytest.mark.anyio
async def test_a_secret_for_other_hosts_is_not_sent(fetch):
    source = fetching_with(NamedSecrets({"my_token": "hunter2"}, hosts={"my_token": {"api.example.org"}}))
    async with serving(always(answer(BODY))) as server:
        spec = SourceSpec("http", {"url": server.url, "headers": SECRET_HEADERS})
        with pytest.raises(SourceNotAllowed, match="SKEIN_SECRET_HOSTS"):
            await source.fetch(spec, fetch.folder, fetch.report)
        assert server.requests == []


def test_files_of_the_folder_win_and_are_read_anew(tmp_path):
    secrets = NamedSecrets({"my_token": "from the environment"}, tmp_path)
    assert secrets.value("my-token", host="h") == "from the environment"
    for content in ("first", "second"):
        (tmp_path / "my-token").write_text(content + "\n")
        assert secrets.value("my-token", host="h") == content


@pytest.mark.parametrize("name", ["../outside", "", "a/b", ".hidden", "a\0b", "ä", "x" * 65])
def test_names_that_are_paths_or_odd_are_no_secrets(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "outside").write_text("x")
    with pytest.raises(SecretNotFound):
        NamedSecrets(folder=tmp_path / "folder").require(name)
