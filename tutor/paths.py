"""Where the shipped files stand."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
GLOSSARY = DATA / "glossary"
QUESTIONS = DATA / "questions"
PROSE = DATA / "prose"
EVAL = DATA / "eval"
WEIGHTS = ROOT / "model" / "weights"
