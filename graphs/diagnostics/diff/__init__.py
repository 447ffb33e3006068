"""What a change of the config files means: two snapshots, compared."""
