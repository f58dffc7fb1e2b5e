"""First-party watermarkers of privmed."""
