"""How other clients take what the sandbox does to them: `scripts/compare`, a tool of developers."""
