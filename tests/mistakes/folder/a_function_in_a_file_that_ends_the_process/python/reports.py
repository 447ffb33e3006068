import sys


def week():
    return 1


sys.exit(week())
