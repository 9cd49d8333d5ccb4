"""What Prometheus sees of a log: read from its ring, put into families, served over HTTP."""
