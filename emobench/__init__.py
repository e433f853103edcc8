"""EmoBench: train, evaluate and time small language models as pytest benchmarks."""

__version__ = "0.2.0.dev0"
