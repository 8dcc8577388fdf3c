"""The teacher: glossaries, dialogues, conversations, scores. Only `tutor.ui` may import gradio."""
