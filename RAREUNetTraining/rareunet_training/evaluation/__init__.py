"""How well scans are segmented at every resolution."""
