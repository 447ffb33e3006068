"""The project's own benchmark: `make bench`. Nothing here is part of what is served."""
