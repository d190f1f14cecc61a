"""From a payment to a decision: claim, state, model, decision, log. Knows nothing of HTTP."""
