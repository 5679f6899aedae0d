"""SQL and bytes: the database, its schema, gate, leases and files. Does not know what an event means.

What events do is in `foldlog.core`; who appends, when and under which lock is in `foldlog.session`.
"""
