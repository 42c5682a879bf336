"""Folders of scans -> cases -> samples -> steps of a training."""
