"""See DESIGN: labels."""
