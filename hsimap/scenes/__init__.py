"""See DESIGN: scenes."""
