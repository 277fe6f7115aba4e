"""Bearer tokens of an issuer that really issues them, at every door."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import jwt
import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from flight_core.adapters.authentication.issuer_keys import IssuerKeys
from flight_core.domain.errors import DependencyFailed, Unauthenticated
from tests.protocol.issuer import AUDIENCE, Issuer, issuing
from tests.protocol.test_token_store import DOORS, REFUSALS
from tests.stack import Stack, skein_stack

GRANTS = "admins/read+write+admin,analysts/read@sales*,urn:x/y/read@none*"


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as made:
        yield made


@pytest.fixture(scope="module")
def stack(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_grants": GRANTS}
    with skein_stack(tmp_path_factory.mktemp("oidc") / "data", **settings) as made:
        made.write("sales_eu", pa.table({"id": pa.array([1, 2], pa.int64())}))
        made.write("other", pa.table({"id": pa.array([1], pa.int64())}))
        yield made


def ask(stack: Stack, token: str, path: str = "/api/v1/datasets"):
    with stack.http(timeout=30) as client:
        return client.get(path, headers={"Authorization": f"Bearer {token}".encode()})


@pytest.mark.parametrize("door", DOORS)
def test_a_token_is_good_at_every_door_and_a_forged_one_at_none(stack, issuer, door):
    DOORS[door](stack, issuer.token(groups=["others", "analysts"]))
    forged = issuer.token(groups=["admins"], key=rsa.generate_private_key(65537, 2048))
    with pytest.raises(REFUSALS) as refused:
        DOORS[door](stack, forged)
    assert any(told in str(refused.value).lower() for told in ("unauthenticated", "401"))


def test_claims_give_scopes_and_datasets_and_the_first_grant_counts(stack, issuer):
    analyst = ask(stack, issuer.token(groups=["analysts"]))
    assert [each["name"] for each in analyst.json()["items"]] == ["sales_eu"]
    both = ask(stack, issuer.token(groups=["analysts", "admins"]))
    assert len(both.json()["items"]) == 2
    assert ask(stack, issuer.token(groups=["urn:x/y"])).json()["items"] == []
    nothing = ask(stack, issuer.token(groups=["strangers"]))
    assert (nothing.status_code, nothing.json()["code"]) == (403, "permission_denied")
    audit = ask(stack, issuer.token(groups=["admins"], sub="root"), "/api/v1/audit?actor=oidc:ann")
    assert audit.json()["items"][0]["credential"] == "oidc/t1"


def test_work_of_somebody_of_the_issuer_goes_on_after_a_restart_with_what_is_granted_then(issuer, tmp_path):
    known = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}
    source = {"kind": "sql", "sql": "SELECT 1 AS one"}
    job = {"dataset": "sales_ones", "source": source, "mode": "replace"}
    schedule = {"name": "ones", "ingestion": job, "cron": "0 6 1 1 *"}

    def run(stack: Stack) -> str:
        path = "/api/v1/schedules/ones/run"
        with stack.http(headers={"Authorization": f"Bearer {token('admins')}"}, timeout=90) as client:
            ended = client.post(path, headers={"Prefer": "wait=60"}).json()
        return ended["error"]["code"] if ended["error"] else ended["state"]

    def token(group: str) -> str:
        return issuer.token(groups=[group], sub={"admins": "root"}.get(group, "ann"))

    grants = "admins/read+write+admin,loaders/read+write@sales*"
    loader = {"Authorization": f"Bearer {token('loaders')}"}
    with skein_stack(tmp_path / "data", oidc_grants=grants, **known) as stack, stack.http() as client:
        assert client.post("/api/v1/schedules", json=schedule, headers=loader).status_code == 201
    with skein_stack(tmp_path / "data", oidc_grants=grants, **known) as stack:
        assert run(stack) == "succeeded"
        assert ask(stack, token("strangers")).status_code == 403
        assert run(stack) == "permission_denied"
        assert ask(stack, token("loaders")).status_code == 200
        assert run(stack) == "succeeded"
    less = grants.replace("loaders/read+write", "loaders/read")
    with skein_stack(tmp_path / "data", oidc_grants=less, **known) as stack:
        assert run(stack) == "permission_denied"


@pytest.mark.parametrize("subject", ["local", "skein"])
def test_a_subject_called_like_somebody_inside_has_only_what_its_claims_give(stack, issuer, subject):
    token = issuer.token(groups=["analysts"], sub=subject)
    assert [each["name"] for each in ask(stack, token).json()["items"]] == ["sales_eu"]
    audit = ask(stack, issuer.token(groups=["admins"], sub="root"), f"/api/v1/audit?actor=oidc:{subject}")
    assert audit.json()["items"]


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"aud": None},
        {"iss": "https://elsewhere.example"},
        {"iss": None},
        {"exp": 1_000_000_000},
        {"exp": None},
        {"nbf": 4_000_000_000},
        {"sub": None},
        {"sub": "a\nb"},
        {"kid": "unknown"},
    ],
    ids=str,
)
def test_a_token_that_is_not_for_us_or_over_is_refused(stack, issuer, claims):
    reply = ask(stack, issuer.token(**{"groups": ["admins"], **claims}))
    assert (reply.status_code, reply.json()["code"]) == (401, "unauthenticated")


def test_algorithms_without_a_signature_or_with_a_shared_key_are_refused(stack, issuer):
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "ann", "exp": time.time() + 60, "groups": ["admins"]}
    for algorithm, key in (("none", None), ("HS256", "x" * 64)):
        token = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": "one"})
        assert ask(stack, token).status_code == 401
    for token in ("a.b.c", "..", "ü.ü.ü", "x" * 20_000 + ".b.c"):
        assert ask(stack, token).status_code == 401


def test_keys_rotate_and_outlive_an_issuer_that_does_not_answer():
    now = 0.0
    with issuing() as issuer:
        keys = IssuerKeys(issuer.url, None, now=lambda: now)
        assert keys.find("one").key_id == "one"
        assert keys.find(None).key_id == "one"
        for _ in range(5):
            with pytest.raises(Unauthenticated):
                keys.find("made-up")
        assert issuer.fetches == 1  # made-up keys make nobody fetch at will
        issuer.rotate()
        now += 11
        assert keys.find("two").key_id == "two"
        assert issuer.fetches == 2
        with pytest.raises(Unauthenticated):
            keys.find("one")
        issuer.away = True
        now += 7200
        assert keys.find("two").key_id == "two"
        now += 86_400
        with pytest.raises(DependencyFailed):
            keys.find("two")
        issuer.away = False
        now += 11
        assert keys.find("two").key_id == "two"
        keys.close()


def test_while_the_issuer_is_slow_to_answer_known_keys_wait_for_nobody():
    now = 0.0
    asked, answers = threading.Event(), threading.Event()

    def slow(request: httpx.Request) -> httpx.Response:
        if now:
            asked.set()
            assert answers.wait(60)
        return httpx.Response(200, json=issuer.document("/keys"))

    with issuing() as issuer, ThreadPoolExecutor(2) as threads:
        keys = IssuerKeys(issuer.url, issuer.url, now=lambda: now, transport=httpx.MockTransport(slow))
        assert keys.find("one").key_id == "one"
        now += 7200
        first = threads.submit(keys.find, "one")
        assert asked.wait(60)
        assert threads.submit(keys.find, "one").result(20).key_id == "one"
        assert not first.done()
        answers.set()
        assert first.result(60).key_id == "one"
        keys.close()
