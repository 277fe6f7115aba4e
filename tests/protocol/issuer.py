"""An OpenID Connect issuer on this machine: real keys, real HTTP, tokens of any kind."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

AUDIENCE = "skein"


class Issuer:
    """`away` makes it answer 503. `fetches` counts how often its keys were asked for."""

    def __init__(self) -> None:
        self.url = ""
        self.away = False
        self.fetches = 0
        self.keys: dict[str, Any] = {"one": rsa.generate_private_key(65537, 2048)}

    def rotate(self) -> None:
        self.keys = {"two": ec.generate_private_key(ec.SECP256R1())}

    def token(self, *, kid: str | None = None, key: Any = None, **claims: Any) -> str:
        kid = kid or next(iter(self.keys))
        key = key or self.keys.get(kid) or next(iter(self.keys.values()))
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        now = int(time.time())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 300, "jti": "t1"}
        merged = {name: value for name, value in {**usual, **claims}.items() if value is not None}
        return jwt.encode(merged, key, algorithm=algorithm, headers={"kid": kid})

    def document(self, path: str) -> dict[str, Any] | None:
        match path:
            case "/.well-known/openid-configuration":
                return {"issuer": self.url, "jwks_uri": self.url + "/keys"}
            case "/keys":
                self.fetches += 1
                return {"keys": [_public(kid, key) for kid, key in self.keys.items()]}
        return None


def _public(kid: str, key: Any) -> dict[str, Any]:
    is_rsa = isinstance(key, rsa.RSAPrivateKey)
    algorithm = jwt.algorithms.RSAAlgorithm if is_rsa else jwt.algorithms.ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig"}


@contextmanager
def issuing() -> Iterator[Issuer]:
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = None if issuer.away else issuer.document(self.path)
            body = json.dumps(document).encode()
            self.send_response(503 if document is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
