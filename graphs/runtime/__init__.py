"""Running graphs: requests in, events out."""
