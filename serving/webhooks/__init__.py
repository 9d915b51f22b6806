"""What channels are told of what becomes of their quotes: signed, retried, in order, out of an outbox."""
