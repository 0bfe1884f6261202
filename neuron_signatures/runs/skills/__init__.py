"""`skills/` in a run: labelled texts, what units do on them, and what was concluded. Definitions: docs/skills.md."""
