"""What operators ask of a gateway: doctor, probe, access matrix, explanations, overview, audit, drawings."""
