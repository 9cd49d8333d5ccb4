"""Commands that hand a log to other programs' questions: files of other formats, and SQL."""
