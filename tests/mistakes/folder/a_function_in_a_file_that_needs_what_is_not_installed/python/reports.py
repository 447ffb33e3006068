import json

import pandaz


def week():
    return json.dumps(pandaz)
