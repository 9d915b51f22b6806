"""The composition root: settings, HTTP service, quote store, batch repricing and command line."""
