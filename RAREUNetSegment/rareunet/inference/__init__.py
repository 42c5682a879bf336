"""How a network is run on a scan of any size: whole, in tiles, on the CPU, whichever fits."""
