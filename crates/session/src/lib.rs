//! One user request: its targets, captures, files and totals, owned by one supervisor.
