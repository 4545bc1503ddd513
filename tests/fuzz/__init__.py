"""Random input for what reads foreign bytes: each module has `once(data)`, which raises where something does not hold."""
