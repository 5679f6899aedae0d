"""foldlog: an embedded, append-only history of LLM sessions in SQLite.

Everything public is here. An application opens a store, starts or opens sessions, and records what
happens; each event is durable when the call returns, folded at once into the session's view, and written
into SQL tables and files at checkpoints. The layers underneath, lowest first: `core` (pure), `storage`
(SQL and bytes), `session`, `store`, `outlets`, `cli`.

The names are those of `foldlog._api`. A program loads them with the package, so that its first `open()` costs
what opening costs; the command line, whose verbs load what they need, when the first of them is asked for.
"""

import importlib
import sys
from typing import TYPE_CHECKING

from foldlog._version import __version__ as __version__

if TYPE_CHECKING:
    from foldlog._api import *  # noqa: F403
    from foldlog._api import __all__ as __all__
else:

    def __getattr__(name):
        """A public name; all of them are there from the first one on."""
        if name == "__all__" or not name.startswith("_"):
            # Half a second that `foldlog --help` need not wait.
            public = importlib.import_module("foldlog._api")
            globals().update({"__all__": public.__all__, **{each: getattr(public, each) for each in public.__all__}})
            if name in globals():
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        """The public names, and what every module has."""
        return sorted({*globals(), *__getattr__("__all__")})

    if not sys.argv[:1] or sys.argv[0].rpartition("/")[2] != "foldlog":
        __getattr__("open")
