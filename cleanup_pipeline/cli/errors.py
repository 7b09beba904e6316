"""What a command says when it was asked for something it cannot do."""


class UsageError(Exception):
    """One line that names what was wrong and what to do; the process exits with 2."""
