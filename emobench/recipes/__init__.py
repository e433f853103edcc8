"""Recipes: what a case of each kind does, one file a kind; here training, evaluation and measurement meet."""
