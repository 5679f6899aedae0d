"""Ways out of a store: queries, files, verification, backup. They read; the history is not changed here."""
