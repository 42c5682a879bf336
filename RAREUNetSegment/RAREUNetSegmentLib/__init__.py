"""What the Segment module needs of Slicer: nodes in, nodes out. Imports no torch and no installed package."""
