"""The report of a period: built once from the ledger, shown as a table, CSV, JSON, Markdown or one HTML file."""
