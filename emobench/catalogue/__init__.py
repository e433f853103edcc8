"""Typed rows: models, data sets, methods and the combinations that are allowed. Loads nothing."""
