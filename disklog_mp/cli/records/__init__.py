"""Commands that show or take records."""
