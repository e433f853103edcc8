"""Plans in numbers: parameters, operations, bytes of memory, and which cases are slow. Loads and measures nothing."""
