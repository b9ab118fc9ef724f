"""Brokers that are broken on purpose, one fault each, to prove that the conformance kit has teeth."""
