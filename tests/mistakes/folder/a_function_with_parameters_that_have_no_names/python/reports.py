def week(rows, /):
    return rows
