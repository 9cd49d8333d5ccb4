"""One module each; no process, nothing left in shared memory."""
