"""A blob on its way: one download, many readers, verified before any reader can finish."""

from pyproxy.arrival.download import Arrival
from pyproxy.arrival.promise import Landed, Open, Promise, Room, Store
from pyproxy.arrival.tail import HOLD_BACK, Reader

__all__ = ["HOLD_BACK", "Arrival", "Landed", "Open", "Promise", "Reader", "Room", "Store"]
