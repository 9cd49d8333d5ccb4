"""Real processes, all well."""
