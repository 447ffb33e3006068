"""Roles and their rules: allow, ask or deny one tool call. Pure functions over plain values."""
