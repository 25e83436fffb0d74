"""See DESIGN: networks."""
