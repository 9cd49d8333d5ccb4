"""Real servers and pools, their workers killed."""
