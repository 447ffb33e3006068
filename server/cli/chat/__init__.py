"""The terminal chat, `interlock chat`: `start` begins it, for people (`terminal`) or for pipes (`plain`)."""
