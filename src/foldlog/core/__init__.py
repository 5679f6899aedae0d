"""The pure core: words, codec, fold, documents. No I/O, no clock, no lock but a view's own.

What touches a disk is in `foldlog.storage`; who reads the clock is in `foldlog.session`.
"""
