"""The TLS of one remote: whom it trusts, and the certificate that its own origin alone is shown."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from pyproxy.upstream.trouble import Trouble
from pyproxy.upstream.values import RemoteSettings


class Contexts(NamedTuple):
    """For the remote's own origin, and for wherever its links and redirects lead."""

    own: ssl.SSLContext
    other: ssl.SSLContext


def contexts(settings: RemoteSettings) -> Contexts:
    """Reads certificates from disk: blocks. Raises Trouble where one cannot be used."""
    other = _trusting(settings)
    if settings.cert is None:
        return Contexts(other, other)
    own = _trusting(settings)
    try:
        own.load_cert_chain(settings.cert, settings.key, password=_no_passphrase)
    except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
        raise Trouble("its client certificate (tls.cert, tls.key) cannot be loaded", ours=True) from exc
    return Contexts(own, other)


def _trusting(settings: RemoteSettings) -> ssl.SSLContext:
    ca = settings.ca
    try:
        if ca is None:
            context = ssl.create_default_context()
        elif ca.is_dir():
            context = ssl.create_default_context(capath=str(ca))
        else:
            context = ssl.create_default_context(cafile=str(ca))
    except OSError as exc:
        raise Trouble("its certificates to trust (tls.ca) cannot be loaded", ours=True) from exc
    # Python 3.13 began to ask for extensions that many private authorities leave out; pip does not ask for them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _no_passphrase() -> str:
    # Without this OpenSSL would ask the terminal, and a daemon would wait for ever.
    raise ValueError("the key is encrypted")
