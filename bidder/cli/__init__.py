"""The command line: `clearbid`. It reads arguments, builds the parts and runs them; nothing is decided here."""
