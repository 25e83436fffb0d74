"""Map one scene: plan, read, compute, blend, write, commit."""
