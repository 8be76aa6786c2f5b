"""The tests: a tree that mirrors pyproxy/, with the fakes that several of them share."""
