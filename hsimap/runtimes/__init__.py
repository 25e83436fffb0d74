"""See DESIGN: runtimes."""
