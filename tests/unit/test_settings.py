"""Settings: from the environment and from flags, checked before anything starts."""

import os
import re
from pathlib import Path

import pytest

from flight_core.domain.access import ALL_SCOPES, Scope
from flight_core.domain.errors import InvalidOption
from skein.settings import Settings, load_settings, unknown_variables

ROOT = Path(__file__).parents[2]


def test_flags_win_over_the_environment_and_the_environment_over_defaults(monkeypatch):
    monkeypatch.setenv("SKEIN_MAX_STREAMS", "7")
    monkeypatch.setenv("SKEIN_FLIGHT_PORT", "1234")
    settings = load_settings(flight_port=0, max_streams=None)
    assert (settings.max_streams, settings.flight_port, settings.http_port) == (7, 0, 8816)


def test_sizes_and_lists_are_read_as_people_write_them(monkeypatch):
    monkeypatch.setenv("SKEIN_MEMORY_LIMIT", "4GiB")
    monkeypatch.setenv("SKEIN_INGEST_ROOTS", os.pathsep.join(["/srv/data", "/srv/more"]))
    monkeypatch.setenv("SKEIN_ALLOWED_HOSTS", "data.example.org, data")
    settings = load_settings()
    assert settings.memory_limit == 4 << 30
    assert settings.roots == (Path("/srv/data"), Path("/srv/more"))
    assert settings.hosts[-2:] == ("data.example.org", "data")


def test_a_misspelled_setting_is_found_with_the_one_that_was_meant(monkeypatch):
    for name in ("THREDS", "THREADS", "TOKEN", "SECRET_API", "OF_ANOTHER_PROGRAM"):
        monkeypatch.setenv(f"SKEIN_{name}", "3")
    assert unknown_variables() == {"SKEIN_THREDS": "SKEIN_THREADS", "SKEIN_OF_ANOTHER_PROGRAM": None}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MAX_STREAMS", "many", "SKEIN_MAX_STREAMS is 'many'"),
        ("MAX_STREAMS", "0", "SKEIN_MAX_STREAMS is '0'"),
        ("FLIGHT_PORT", "70000", "SKEIN_FLIGHT_PORT is '70000'"),
        ("MEMORY_LIMIT", "much", "SKEIN_MEMORY_LIMIT is 'much'"),
        ("LOG_LEVEL", "loud", "SKEIN_LOG_LEVEL is 'loud'"),
        ("TLS_CERT", "/cert.pem", "SKEIN_TLS_KEY"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_by_name(monkeypatch, name, value, said):
    monkeypatch.setenv(f"SKEIN_{name}", value)
    with pytest.raises(InvalidOption, match=re.escape(said)):
        load_settings()


def test_a_flag_that_does_not_fit_is_refused_as_it_was_written(monkeypatch):
    monkeypatch.setenv("SKEIN_FLIGHT_PORT", "8815")
    with pytest.raises(InvalidOption, match=re.escape("--flight-port is 70000: ")):
        load_settings(flight_port=70000, http_port=None)


@pytest.mark.parametrize("entry", ["ann", "ann=", "=s3cret", "ann/fly=s3cret"])
def test_a_malformed_token_is_refused_without_being_repeated(entry):
    with pytest.raises(InvalidOption) as refusal:
        load_settings(tokens=entry)
    assert "SKEIN_TOKENS" in refusal.value.message
    assert "s3cret" not in refusal.value.message


@pytest.mark.parametrize("name", ["local", "skein", "oidc:ann"])
@pytest.mark.parametrize("kind", ["tokens", "users"])
def test_nobody_is_called_like_somebody_inside_or_of_an_issuer(kind, name):
    with pytest.raises(InvalidOption, match=f"'{name}' in SKEIN_{kind.upper()}"):
        load_settings(**{kind: f"{name}/read=s3cret"})


def test_tokens_have_names_and_scopes():
    ann, bob = load_settings(tokens="ann=one, bob/read+write=two=2").credentials("tokens")
    assert (ann.name, ann.secret, ann.scopes) == ("ann", "one", ALL_SCOPES)
    assert (bob.name, bob.secret, bob.scopes) == ("bob", "two=2", {Scope.READ, Scope.WRITE})


def test_credentials_name_the_datasets_that_they_are_for():
    (one,) = load_settings(tokens="emea/read+ingest@sales_*+orders=a@b/c=d").credentials("tokens")
    assert one.scopes == {Scope.READ, Scope.INGEST}
    assert one.datasets == ("sales_*", "orders")
    assert one.secret == "a@b/c=d"
    (everywhere,) = load_settings(users="ann@example.com=one").credentials("users")
    assert (everywhere.name, everywhere.datasets) == ("ann@example.com", ("*",))


@pytest.mark.parametrize("patterns", ["", "a+", "a b", "a/b"])
def test_datasets_of_credentials_have_to_be_patterns_of_names(patterns):
    with pytest.raises(InvalidOption, match="no patterns"):
        load_settings(tokens=f"emea/read@{patterns}=s3cret")


def test_no_secret_is_in_the_text_form_of_settings():
    text = repr(load_settings(tokens="ann=s3cret", users="bob=s3cret", catalog_url="sqlite:///s3cret"))
    assert "s3cret" not in text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "data.example.org"])
def test_an_address_that_others_reach_is_no_loopback(host):
    assert not load_settings(host=host).loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_a_loopback_address_needs_none(host):
    assert load_settings(host=host).loopback


def test_local_files_are_readable_by_default_only_where_only_local_people_come_in():
    assert load_settings().roots == (Path.cwd().resolve(), Path.home().resolve())
    assert load_settings(host="0.0.0.0", tokens="ann=s3cret").roots == ()


DEFAULTS_IN_WORDS = {
    "catalog_url": "`catalog.sqlite` in the data directory",
    "demo_rows": "200,000",
    "memory_limit": "half of the machine's or container's memory",
    "threads": "the number of processors",
    "ingest_roots": "the working and the home directory on a loopback address, else none",
    "ingest_allow_loopback": "`true` where Skein listens on a loopback address, else `false`",
    "ingest_adbc_drivers": "`flightsql,sqlite,postgresql`",
    "ingest_memory_bytes": "`3GiB`, or a quarter of the machine's or container's memory if that is less",
}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_the_reference_tells_each_default(name):
    page = (ROOT / "docs/reference/settings.md").read_text()
    told = re.search(rf"### `SKEIN_{name.upper()}`\n\nDefault: (.+?)(?: · Flag|\n)", page)
    assert told, "no default"
    default = Settings.model_fields[name].default
    assert told[1] == DEFAULTS_IN_WORDS.get(name) or told[1] == _written(default)


def _written(default: object) -> str:
    match default:
        case bool():
            return f"`{str(default).lower()}`"
        case int() if default >= 1 << 20:
            unit, size = ("GiB", 30) if default % (1 << 30) == 0 else ("MiB", 20)
            return f"`{default >> size}{unit}`"
        case int() | float():
            return f"`{default:g}`" if default < 1e6 else f"`{default:.0f}`"
        case None | ():
            return "none"
        case _:
            text = getattr(default, "get_secret_value", lambda: str(default))()
            return f"`{text}`" if text else "none"


def test_an_empty_variable_is_none_and_an_empty_list_allows_nothing(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.setenv(f"SKEIN_{name.upper()}", "")
    settings = load_settings()
    assert settings.secrets_dir is None
    assert settings.tls_cert is None
    assert settings.data == Path("skein-data")
    assert settings.roots == ()
    assert settings.ingest_adbc_drivers == ()
