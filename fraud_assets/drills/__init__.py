"""Drills: faults brought about on purpose, on the real code, and the proof that nothing was lost or doubled.

producer (the manifest's witness) ─▶ a private Valkey ─▶ ingest processes of the nursery, killed ─▶ a private lake ─▶ verify
"""
