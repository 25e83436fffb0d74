"""See DESIGN: products."""
