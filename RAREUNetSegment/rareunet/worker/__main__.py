"""python -m rareunet.worker --folder FOLDER, started by the Slicer panel."""

from rareunet.worker.server import main

main()
