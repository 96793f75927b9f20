"""Metrics of video sets: they take videos or features, never a model."""
