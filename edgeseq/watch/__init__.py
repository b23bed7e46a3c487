"""The daemon beside the sequencer.

    discover ─▶ follow ─▶ score ─▶ journal ─▶ tallies ─▶ evidence ─▶ alerts, page, status, metrics
    └──── reading thread ────┘   └─────────────── main thread ──────────────┘

discover    which files there are, under which names, and which are new, longer, complete or gone
follow      the whole reads that a growing file has gained
journal     what was scored, and how far each file was read: one SQLite file, one transaction for both
tallies     counts by barcode and label
evidence    whether a class is present, with stated error rates
live        all of it as plain data for those who look: status file, page, metrics; detections go to the alerts
"""
