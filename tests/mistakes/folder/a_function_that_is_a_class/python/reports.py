class Week:
    pass
