"""What `verify` checks, without a terminal."""
