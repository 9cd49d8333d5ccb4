"""What keeps a machine, or a process, from being a good place for a log: `disklog-mp doctor`.

One function per look, see examination.LOOKS.  A look changes nothing; it iterates what it found, each with
the exact fix, and what it could not see.
"""
