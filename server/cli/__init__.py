"""The command interlock."""
