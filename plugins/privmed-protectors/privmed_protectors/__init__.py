"""Protectors: unlearnable data sets, one method a file."""
