"""Work: predictions of a trained classifier and the metrics of them."""
