NAMES = {}
FIRST = NAMES["first"]
