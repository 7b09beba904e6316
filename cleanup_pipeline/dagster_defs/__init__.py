"""Everything that knows Dagster: ops, graphs, jobs, schedules, sensors, resources. A thin layer over `engine`."""
