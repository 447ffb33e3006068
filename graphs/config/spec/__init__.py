"""The language of the config files: one page per kind of file."""
