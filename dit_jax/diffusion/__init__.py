"""Processes, prediction types, losses, times, samplers and guidance. No model here."""
