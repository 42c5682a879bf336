"""Files of other formats -> Volume; volume_files.py chooses among them."""
