"""Migrations of the record store."""
