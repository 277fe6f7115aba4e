"""`skein user`, beside a server and through it."""

import httpx
import pyarrow as pa

from tests.e2e.commands import Terminal, skein
from tests.stack import skein_process, skein_stack


def test_a_public_server_begins_with_a_user_who_was_added_offline(tmp_path):
    data = tmp_path / "data"
    flags = ("--scope", "read", "--scope", "admin", "--password-stdin", "--offline", "--data", data)
    added = skein("user", "add", "ann", *flags, stdin="correct horse\n")
    assert (added.returncode, added.stdout) == (0, "added ann\n"), added.stderr
    unasked = skein("user", "add", "bob", *flags[:4], *flags[5:], stdin="correct horse\n")
    assert "[invalid_option]" in unasked.stderr
    assert "--password-stdin" in unasked.stderr
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


def test_commands_log_in_with_a_name_and_a_password_at_both_doors(tmp_path):
    with skein_stack(tmp_path / "data", users="änn/read@sales*=corréct horse") as stack:
        stack.write("sales", pa.table({"id": [1, 2]}))
        stack.write("orders", pa.table({"id": [1]}))
        server = {"SKEIN_SERVER": stack.http_url}
        known = {**server, "SKEIN_PASSWORD": "corréct horse"}
        listed = skein("datasets", SKEIN_USER="änn", SKEIN_TOKEN="worthless", **known)
        assert ("sales" in listed.stdout, "orders" in listed.stdout) == (True, False), listed.stderr
        refused = skein("--user", "änn", "--server", stack.http_url, "datasets")
        assert (refused.returncode, "SKEIN_PASSWORD" in refused.stderr) == (1, True)
        with Terminal("--user", "änn", "query", "SELECT sum(id) AS s FROM sales", **server) as terminal:
            terminal.wait_for("Password of änn: ")  # with the space: what was typed before is thrown away
            terminal.type("corréct horse\n")
            assert terminal.wait() == 0
            assert "3" in terminal.screen
            assert "horse" not in terminal.screen
            assert terminal.screen.count("Password of") == 1
