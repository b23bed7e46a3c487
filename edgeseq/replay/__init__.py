"""A finished run, written back as a sequencer would write it: files that grow, end and are renamed, in the run's time.

timeline   which record is due when
growing    one file that grows
player     due records into growing files, against a clock
"""
