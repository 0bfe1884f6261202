"""The view Circuit: the canvas, the panels beside it, groups, edits through the server, and exports."""
