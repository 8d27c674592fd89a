"""The embedded mode: every stage in one process group on one data directory, no server needed."""
