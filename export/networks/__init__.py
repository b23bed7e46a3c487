"""The networks of the families that are too large to stand beside what reads them, in plain torch, one file each."""
