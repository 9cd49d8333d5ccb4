"""Commands that run or remove something."""
