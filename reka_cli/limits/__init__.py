"""How long a question may take, how often it may be tried, and how it is canceled."""
