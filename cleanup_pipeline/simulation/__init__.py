"""Passes that have not happened yet: will cleaning keep up, and with which settings? Touches no store and no ledger."""
