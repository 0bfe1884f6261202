"""What was found about skills, as plain values for viewers: docs/skills.md has the definitions."""
