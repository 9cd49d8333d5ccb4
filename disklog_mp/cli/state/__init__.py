"""Commands that show the state of logs."""
