"""The SQL views as PostgreSQL says them: the same names and columns as `foldlog.storage.sql_views`."""

from typing import Final

POSTGRES_VIEWS: Final[dict[str, str]] = {}
