"""The demo: a real agent, a scripted user and an outside observer around a running `run.py up`.

Everything here talks to the system as any user's program would: OpenAI API, MQTT, JSONL, store (read-only).
"""
