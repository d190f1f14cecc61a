"""The models that are live, where they run, and what answers when one of them does not."""
