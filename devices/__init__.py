"""Workstation tools for the devices that bundles run on. Nothing of this is in the wheel."""
