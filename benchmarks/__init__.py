"""What `fastrnn bench` runs; in the wheel this folder is `fastrnn/_benchmarks`.

Read `work` (what is timed), `rounds` (how), `training` (the main section), `suite` (all sections, one after the other).
"""
