"""Read a folder of YAML into one checked Snapshot (`loader.py`), or report every problem in it."""
