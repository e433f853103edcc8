"""Materials: model weights located, loaded, adapted, quantized, saved."""
