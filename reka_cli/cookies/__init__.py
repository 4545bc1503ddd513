"""The session of one site, from where users have it."""
