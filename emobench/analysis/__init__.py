"""Evidence: what saved results say. Nothing here may import torch, read files or know of pages."""
