"""TinyKiln compiles a trained network to C and generates a firmware repository around it."""

__version__ = "0.1.0"
