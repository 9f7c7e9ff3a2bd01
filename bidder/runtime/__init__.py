"""Shells: what runs the pure core on a clock, a transport and a disk."""
