"""What a restart must not lose: checkpoints, turns, approvals, tool journal, usage and audit, in one database."""
