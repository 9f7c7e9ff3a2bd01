"""Models of Clearbid: from a table to a compiled, calibrated, checked artifact. Imports nothing above it."""
