"""What lies between the socket and the routes: identity, limits, back-pressure, logs, metrics and traces."""
