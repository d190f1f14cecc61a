"""The online feature state."""
