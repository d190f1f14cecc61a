"""The BentoML tier: scores each payment in milliseconds with the model that the graph released."""
