"""Searching settings: trials of fit, by Optuna."""
