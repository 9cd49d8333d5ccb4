"""The reader: cursors, pages, streams."""
