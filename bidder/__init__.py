"""Clearbid's bidder: one pure engine (`bidder.core`) and the shells that run it live."""
