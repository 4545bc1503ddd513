"""A stand-in for Reka on loopback: real HTTP, the real wire, honest answers, and faults on request."""
