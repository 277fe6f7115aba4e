"""Certificates from the settings, checked before a server is given them."""

import ssl
from pathlib import Path

from flight_core.domain.errors import InvalidOption
from flight_server.options import TlsOptions
from skein.settings import Settings


def tls_options(settings: Settings) -> TlsOptions | None:
    """
    Raises:
        InvalidOption: a file cannot be read, or holds something else.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    cert_chain = _read(settings.tls_cert, "SKEIN_TLS_CERT")
    private_key = _read(settings.tls_key, "SKEIN_TLS_KEY")
    client_ca = None
    if settings.tls_client_ca is not None:
        client_ca = _read(settings.tls_client_ca, "SKEIN_TLS_CLIENT_CA")
    _check(settings)
    return TlsOptions(cert_chain, private_key, root_certs=client_ca, verify_client=client_ca is not None)


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidOption(f"{setting} is '{path}', which cannot be read: {error.strerror}") from None


def _check(settings: Settings) -> None:
    """Flight would only say that it cannot listen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(str(settings.tls_cert), str(settings.tls_key), password="")
    except (ssl.SSLError, ValueError):
        raise InvalidOption(
            f"SKEIN_TLS_CERT ('{settings.tls_cert}') and SKEIN_TLS_KEY ('{settings.tls_key}') are not a"
            " certificate chain and its private key without a password, both in PEM"
        ) from None
    try:
        if settings.tls_client_ca:
            context.load_verify_locations(settings.tls_client_ca)
    except ssl.SSLError:
        raise InvalidOption(
            f"SKEIN_TLS_CLIENT_CA ('{settings.tls_client_ca}') holds no certificate in PEM"
        ) from None
