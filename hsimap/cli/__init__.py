"""See DESIGN: cli."""
