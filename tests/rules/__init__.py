"""What a program can check of the house itself; no test here opens a log itself."""
