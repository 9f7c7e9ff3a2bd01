"""Clearbid's simulator: logs, an exchange, and replay, all round the bidder's own engine."""
