"""See DESIGN: mapping."""
