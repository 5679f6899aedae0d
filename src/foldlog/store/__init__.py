"""The store: one database and the sessions in it.

What a session can do is in `foldlog.session`; reading out (queries, files, verification) in
`foldlog.outlets`.
"""
