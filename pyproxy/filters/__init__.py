"""Who may see what: the filter keys as rules, decided purely. One family of rules a file.

`protocol` says what a rule is and `policy` holds the registry of families; `seen` is a page as rules look at it.
"""

from __future__ import annotations

from pyproxy.filters.policy import Policy, Verdicts, policy_of
from pyproxy.filters.protocol import Refused
from pyproxy.filters.seen import Seen, as_version, seen

__all__ = ["Policy", "Refused", "Seen", "Verdicts", "as_version", "policy_of", "seen"]
