import json


def week(rows:
    return json.dumps(rows)
