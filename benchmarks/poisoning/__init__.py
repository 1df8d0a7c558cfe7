"""Planted attacks on what is learned, before and after the defences."""
