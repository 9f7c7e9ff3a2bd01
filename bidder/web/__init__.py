"""What the outside calls: tracking endpoints now; REST API, console and auth come beside them.

Here a request becomes a message or an answer; what it means for money is decided by the bank alone.
"""
