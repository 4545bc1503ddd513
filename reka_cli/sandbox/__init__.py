"""A stand-in for Reka on loopback: real HTTP, the real protocol, honest answers, and faults on request."""
