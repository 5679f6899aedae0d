"""A session's verbs: stamping, committing and folding its events, under its lock.

What events mean is in `foldlog.core`, where they go is in `foldlog.storage`, and the store that owns
sessions is in `foldlog.store`.
"""
