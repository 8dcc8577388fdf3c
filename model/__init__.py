"""The language model: tokens, tensors and files.

This package knows nothing of glossaries, dialogues or the page; whatever it needs to
know about those reaches it as text, ids or callables.
"""
