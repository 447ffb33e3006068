week = 3
