"""See DESIGN: evaluation."""
