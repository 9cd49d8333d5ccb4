"""The live view of logs: figures gathered from rings and pages (no terminal), and a view that shows them."""
