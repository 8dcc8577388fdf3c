"""Open the page: `python app.py`, on a laptop or on a Hugging Face Space."""

import sys

from tutor.ui.page import main

if __name__ == "__main__":
    sys.exit(main())
