"""What the facade notes: request log, log format, export of spans, counts of several workers."""
