"""The HTTP face: routes, problems, documents. Everything it answers comes from the runtime."""
