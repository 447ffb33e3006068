"""The dialects that clients speak, and the errors of all."""
