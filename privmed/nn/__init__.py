"""Building blocks that methods of two kinds use."""
