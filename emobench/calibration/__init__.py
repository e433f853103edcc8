"""Calibration: what a plan really takes on this machine. Predicts nothing."""
