"""The root of the commands."""

from __future__ import annotations

import click

from pyproxy import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="pyproxy", message="%(prog)s %(version)s")
def cli() -> None:
    """A caching proxy and index for Python packages, for pip, uv and their kin."""
