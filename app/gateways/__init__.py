"""The outside world behind narrow classes: face recognition and the object store."""
