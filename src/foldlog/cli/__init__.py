"""The command line: `foldlog VERB STORE`.

Verbs ask the store and print; what they print is made by `foldlog.store` and `foldlog.outlets`. The entry
point is `foldlog.cli.main`, each group of verbs is a module beside it.
"""
