"""pyproxy: a caching proxy and index for Python packages, in one process and one folder."""

__version__ = "0.1.0"
