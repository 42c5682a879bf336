"""One module per file format; volume_files.py chooses among them."""
