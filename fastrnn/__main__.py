"""`python -m fastrnn` is the same as `fastrnn`."""

from .cli import main

if __name__ == "__main__":
    main()
