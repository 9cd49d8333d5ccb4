"""The pages: their format, their directory, how they are written and recovered."""
