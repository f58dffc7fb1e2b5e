"""Data sets: readers, splits, published copies, phantoms."""
