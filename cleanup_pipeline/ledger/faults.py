"""What is wrong with a ledger, in one line that a person can act on."""


class LedgerError(Exception):
    """One line: what is wrong with the ledger and what to do. Never holds a password."""


class RefusedError(LedgerError):
    """What was to be written can never be: trying again is no use."""
