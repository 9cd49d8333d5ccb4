"""The ring: its name, its file, its slots, what stands in it, and which of its processes are alive."""
