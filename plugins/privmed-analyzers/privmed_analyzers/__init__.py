"""Analyzers of privmed's first release."""
