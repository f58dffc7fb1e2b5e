"""Hiders of privmed's first release."""
