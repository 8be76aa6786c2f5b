"""Keeps bytes and facts: blobs as files, records in LMDB, and what brings both back in order after a crash."""
