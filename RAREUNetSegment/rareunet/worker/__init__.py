"""The predictor in a process of its own, for the Slicer panel."""
