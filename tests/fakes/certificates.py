"""A certificate authority that only the tests trust, and what it signed. The keys open nothing else; valid to 2099.

Made with openssl: EC P-256, the server for localhost, index.example, 127.0.0.1 and 127.0.0.2.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

_CA = """\
-----BEGIN CERTIFICATE-----
MIIBfDCCASKgAwIBAgIUNvq27tmOQCmdWzqsnhaS2PcZMbcwCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQcHlwcm94eSB0ZXN0cyBjYTAgFw0yMDAxMDEwMDAwMDBaGA8y
MTAwMDEwMTAwMDAwMFowGzEZMBcGA1UEAwwQcHlwcm94eSB0ZXN0cyBjYTBZMBMG
ByqGSM49AgEGCCqGSM49AwEHA0IABDsikSk3fCo1j6L6HsnsLxQ7lXiwNlf8pBpU
S6boCAfX/mN88hzQKGtttWofcFo0lpoT33bFQG/bpwmNED3y252jQjBAMA8GA1Ud
EwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgEGMB0GA1UdDgQWBBQkQLNg/qjNbxyj
3u7nFgFijKaFIDAKBggqhkjOPQQDAgNIADBFAiAY5zSuzHla5O37JYod8C8NbuV6
nD/iTEPxAAGnod7T5wIhAKO0NwBrgpjhQgI5559t0kZYDS1zYewpPObXswug6ksD
-----END CERTIFICATE-----
"""

_SERVER = """\
-----BEGIN CERTIFICATE-----
MIIB4zCCAYmgAwIBAgIUOc1aZhQbqlOnT8K1sF8Mtpyt+6YwCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQcHlwcm94eSB0ZXN0cyBjYTAgFw0yMDAxMDEwMDAwMDBaGA8y
MTAwMDEwMTAwMDAwMFowHzEdMBsGA1UEAwwUcHlwcm94eSB0ZXN0cyBzZXJ2ZXIw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASy9ifmbVv8sIF9BksgDuF0dMTRSetB
1XRJeyraaNyBr7f0u/sWTtSWLUCUqMTZXFEiEw0UnJY1gP4sWKHr2R/Ko4GkMIGh
MAkGA1UdEwQCMAAwDgYDVR0PAQH/BAQDAgeAMBMGA1UdJQQMMAoGCCsGAQUFBwMB
MC8GA1UdEQQoMCaCCWxvY2FsaG9zdIINaW5kZXguZXhhbXBsZYcEfwAAAYcEfwAA
AjAdBgNVHQ4EFgQUMG0k8QwfevGq43GSDB8xoTxeQjUwHwYDVR0jBBgwFoAUJECz
YP6ozW8co97u5xYBYoymhSAwCgYIKoZIzj0EAwIDSAAwRQIgQKxNBwliPTKThtdD
4dyLk0aBEKVXkvK9bEhS2AO2uYYCIQCl+gpLJyJrb0kKYCuoNUMB7uQofv7i1UTC
KsIagDe+hQ==
-----END CERTIFICATE-----
"""

_SERVER_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgcK3xrtwWUiNtCYS5
bsfwZ7p55WDlsyqNUxtzQQFdE+ChRANCAASy9ifmbVv8sIF9BksgDuF0dMTRSetB
1XRJeyraaNyBr7f0u/sWTtSWLUCUqMTZXFEiEw0UnJY1gP4sWKHr2R/K
-----END PRIVATE KEY-----
"""

_CLIENT = """\
-----BEGIN CERTIFICATE-----
MIIBsTCCAVagAwIBAgIUZ0KBweTspH/zFL0iMCzRSx5ExCcwCgYIKoZIzj0EAwIw
GzEZMBcGA1UEAwwQcHlwcm94eSB0ZXN0cyBjYTAgFw0yMDAxMDEwMDAwMDBaGA8y
MTAwMDEwMTAwMDAwMFowHzEdMBsGA1UEAwwUcHlwcm94eSB0ZXN0cyBjbGllbnQw
WTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASCfaKc412f0xhHdMkN0MFK+ggkOozk
JHh3zmgU29jqYdQQE1VBP1GG3RD7VpKsNLrVyA4WHdxCGRAEWjbVsw3Po3IwcDAJ
BgNVHRMEAjAAMA4GA1UdDwEB/wQEAwIHgDATBgNVHSUEDDAKBggrBgEFBQcDAjAd
BgNVHQ4EFgQUR1i19P879pcrPX7EefT5ozdqTHUwHwYDVR0jBBgwFoAUJECzYP6o
zW8co97u5xYBYoymhSAwCgYIKoZIzj0EAwIDSQAwRgIhALOJy73L2gQMXJ2T4M6f
wmE++Dr7xobe4aBpKG5f1U1AAiEA85wxO2ZW0zQS5ekyL7AcmY5mEtY4cRInqBEi
8l41x/Y=
-----END CERTIFICATE-----
"""

_CLIENT_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgyB6tLPjqTtMmbGHi
8+Z3GZ1bCo9XuOxtlxuGok1CYLOhRANCAASCfaKc412f0xhHdMkN0MFK+ggkOozk
JHh3zmgU29jqYdQQE1VBP1GG3RD7VpKsNLrVyA4WHdxCGRAEWjbVsw3P
-----END PRIVATE KEY-----
"""


@dataclass(frozen=True, slots=True)
class Certificates:
    """The certificates as files, and the two sides of TLS made of them."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    @classmethod
    def below(cls, folder: Path) -> Certificates:
        """Writes the files."""
        texts = {"ca": _CA, "server": _SERVER, "server_key": _SERVER_KEY, "client": _CLIENT, "client_key": _CLIENT_KEY}
        paths = {name: folder / f"{name}.pem" for name in texts}
        for name, path in paths.items():
            path.write_text(texts[name], "ascii")
        return cls(**paths)

    def serving(self, *, client_required: bool = False) -> ssl.SSLContext:
        """What a server needs: `RawUpstream(tls=…)`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server, self.server_key)
        if client_required:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context
