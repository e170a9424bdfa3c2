"""`python -m tokenzoo` is the command `tokenzoo`."""

from .cli import main

if __name__ == "__main__":
    main()
