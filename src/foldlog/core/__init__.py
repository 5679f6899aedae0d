"""The pure core: words, codec, fold, documents. No I/O, no clock, no threads.

What touches a disk is in `foldlog.storage`; what has a lock or a clock is in `foldlog.session`.
"""
