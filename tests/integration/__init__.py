"""A worker as a process, servers as they run in production."""
