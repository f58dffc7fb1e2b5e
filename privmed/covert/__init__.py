"""Covert analysis of files: each case with its figures, its warnings and a report."""
