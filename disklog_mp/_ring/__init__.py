"""The ring: its name, its file, its slots, what stands in it, who is alive."""
