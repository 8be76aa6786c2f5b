"""`python -m pyproxy`."""

from __future__ import annotations

from pyproxy.cli import main

if __name__ == "__main__":
    main()
