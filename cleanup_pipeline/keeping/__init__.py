"""What is kept of records that were removed: the removal ledger and the quarantine.

Both are files in a folder or behind any fsspec URL, not rows of the ledger: a pass writes a million of them. Does not
belong here: reading, deleting and writing records (stores), and when a pass does so (engine).
"""
