"""Plugins for other programs: each is found by its entry point and imported by that program, never by foldlog.

What they offer is made elsewhere (`foldlog.outlets`); here it is put into the other program's words. Only when it is
used is anything heavy imported: these programs load their plugins on every start.
"""
