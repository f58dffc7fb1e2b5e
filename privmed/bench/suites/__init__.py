"""What comparisons are made of: one suite a question."""
