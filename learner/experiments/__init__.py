"""Experiments: open questions that anybody can answer on their own model, each a module with one `run`.

Directions, material, course and scoring are what a run is made of; `report` is what comes out.
"""
