"""Privacy: signals of a request to the few permissions that the core obeys."""
