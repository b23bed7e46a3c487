"""Workstation tools that compress a bundle inside a proven accuracy budget, for a named device."""
