"""`skein user`, beside a server and through it."""

import httpx

from tests.e2e.commands import skein
from tests.stack import skein_process


def test_a_public_server_begins_with_a_user_who_was_added_offline(tmp_path):
    data = tmp_path / "data"
    flags = ("--scope", "read", "--scope", "admin", "--password-stdin", "--offline", "--data", data)
    added = skein("user", "add", "ann", *flags, stdin="correct horse\n")
    assert (added.returncode, added.stdout) == (0, "added ann\n"), added.stderr
    roots = ("root", "--scope", "admin", "--scope", "read", "--offline", "--data", data)
    made = skein("token", "create", *roots)
    with skein_process(data, "--host", "0.0.0.0") as server:
        url = server.endpoints["http"]
        known = {"SKEIN_SERVER": url, "SKEIN_TOKEN": made.stdout.strip()}

        def status(password):
            return httpx.get(url + "/api/v1/datasets", auth=("ann", password)).status_code

        assert (status("correct horse"), status("guess"), status("")) == (200, 401, 401)
        listed = skein("user", "list", **known)
        assert {"ann", "read+admin", "admin+read"} & set(listed.stdout.split())
        assert "argon2" not in listed.stdout + skein("user", "list", "--json", **known).stdout
        changed = skein("user", "passwd", "ann", "--password-stdin", stdin="battery staple\n", **known)
        assert changed.returncode == 0, changed.stderr
        assert (status("correct horse"), status("battery staple")) == (401, 200)
        removed = skein("user", "remove", "ann", "--offline", "--data", data)  # by another process
        assert removed.stdout == "removed ann\n"
        assert status("battery staple") == 401
        refused = skein("user", "remove", "ann", **known)
        assert refused.returncode == 1
        assert "[user_not_found]" in refused.stderr
