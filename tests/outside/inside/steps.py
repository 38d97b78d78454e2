"""Names of the steps of a run that are no tests, but can fail or hang, too."""

IMPORT, EXIT = "(import)", "(exit)"
