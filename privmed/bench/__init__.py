"""The experiment engine: a plan in, records out; tables, pages and leaderboards are views of records."""
