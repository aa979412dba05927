"""Stand-ins for services outside, for tests and for trying things by hand."""
