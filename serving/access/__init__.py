"""Who may call the service, and for what."""
