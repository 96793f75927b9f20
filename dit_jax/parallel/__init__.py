"""Mesh, sharding rules and hosts."""
