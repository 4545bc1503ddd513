"""Hostile bytes for what reads bytes from outside: each module here is a target.

A target has `seeds()`, a list of good inputs, and `feed(data)`, which raises if what is tested does not keep its word.
"""
