"""What a program can check of the house itself: layers, labels, words, sizes, documents."""

BUDGET = 30  # seconds for all tests of this folder
TIMEOUT = 60  # seconds for one
