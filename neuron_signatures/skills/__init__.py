"""Stage 7: which units belong to a skill, and do they carry it? Features of autoencoders, neurons and directions.

One subpackage per mode; definitions are in docs/skills.md.
"""
