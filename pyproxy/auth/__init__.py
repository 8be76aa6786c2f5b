"""Authorization to allowed or not. Tokens and htpasswd users; what cannot be decided is decided with no.

`Guard.decide` is the way in. `credentials` reads the header, `passwords` asks bcrypt in threads, `failures` counts
those who guess, `tokens` makes what a guard checks.
"""

from __future__ import annotations

from pyproxy.auth.credentials import CHALLENGE
from pyproxy.auth.failures import WINDOW
from pyproxy.auth.guard import Decision, Guard, Right, Rights
from pyproxy.auth.passwords import Passwords
from pyproxy.auth.tokens import new_token

__all__ = ["CHALLENGE", "WINDOW", "Decision", "Guard", "Passwords", "Right", "Rights", "new_token"]
