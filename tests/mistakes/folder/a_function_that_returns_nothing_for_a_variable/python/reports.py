def week() -> None:
    pass
