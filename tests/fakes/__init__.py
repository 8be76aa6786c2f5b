"""Fakes that several tests share: each behaves as the real thing does, unless it is told to misbehave."""
