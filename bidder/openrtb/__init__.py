"""OpenRTB 2.6: the subset of request and response that we enforce. Pure; knows nothing of campaigns."""
