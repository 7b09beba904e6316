"""The command line: one module a command, over the same jobs that the schedules start."""
