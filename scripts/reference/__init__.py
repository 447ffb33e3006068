"""The pages of docs/reference, made from what the program itself says: `make reference`."""
