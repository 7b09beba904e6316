"""The fault bench: real servers behind a proxy, writers beside the pass, and an oracle that judges what is left."""
