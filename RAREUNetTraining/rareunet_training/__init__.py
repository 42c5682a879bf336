"""Training of RARE-UNet models: folders of scans in, a bundle out. Plain Python, torch and MONAI; never Slicer."""

import time

PROCESS_STARTED = time.time()  # before torch is imported, which takes seconds
