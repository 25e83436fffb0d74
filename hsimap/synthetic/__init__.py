"""See DESIGN: synthetic."""
