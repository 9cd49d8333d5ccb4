"""The command crashtest: processes killed at random, every record accounted for."""
