"""A folder of YAML into one Snapshot (`loader.py`), or every problem in it."""
