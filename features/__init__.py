"""Feature definitions, their compiler to SQL, the per-customer evaluator, and risk profiles."""
