"""Training of RARE-UNet models: folders of scans in, a bundle out. Plain Python, torch and MONAI; never Slicer."""
