"""`skein token`, from the first one on a data directory to the last."""

import httpx

from tests.e2e.commands import skein
from tests.stack import skein_process


def test_a_public_server_begins_with_a_token_that_was_made_offline(tmp_path):
    data = tmp_path / "data"
    made = skein("token", "create", "me", "--scope", "read", "--scope", "admin", "--offline", "--data", data)
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert token.startswith("skein_")
    with skein_process(data, "--host", "0.0.0.0") as server:
        url = server.endpoints["http"]
        known = {"SKEIN_SERVER": url, "SKEIN_TOKEN": token}
        second = skein("token", "create", "other", "--scope", "read", "--expires", "1h", **known)
        assert second.returncode == 0, second.stderr
        listed = skein("token", "list", **known)
        assert {"me", "other", "good", "never"} <= set(listed.stdout.split())
        assert token not in listed.stdout

        other = {"Authorization": f"Bearer {second.stdout.strip()}"}
        assert httpx.get(url + "/api/v1/datasets", headers=other).status_code == 200
        identity = second.stderr.split()[1]
        revoked = skein("token", "revoke", identity, "--offline", "--data", data)  # by another process
        assert revoked.stdout == f"revoked {identity}\n"
        assert httpx.get(url + "/api/v1/datasets", headers=other).status_code == 401

        refused = skein("token", "list", "--server", url)
        assert refused.returncode == 1
        assert "[unauthenticated]" in refused.stderr
