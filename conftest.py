"""The axes of the benchmarks; options and the ``case`` fixture come from the installed plugin."""

# The axes come last: they import the others, which pytest must have seen by then to rewrite their assertions.
pytest_plugins = [
    "fixtures.batch_sizes",
    "fixtures.datasets",
    "fixtures.devices",
    "fixtures.methods",
    "fixtures.models",
    "fixtures.precisions",
    "fixtures.axes",
]
