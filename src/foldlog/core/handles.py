"""What belongs to one process: stores, sessions and what holds them are neither pickled nor copied.

That they refuse to work in a forked child is `foldlog.storage.sqlite`'s doing, where the process is known.
"""

from typing import NoReturn, SupportsIndex

from foldlog.core.errors import StoreError


class Handle:
    """A handle of this process, with locks and files that another process cannot have."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise StoreError(
            f"a {type(self).__name__} cannot be pickled or copied: it belongs to this process",
            hint="pass the store's path and the session's id, and open them there",
        )
