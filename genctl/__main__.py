"""`python -m genctl`, which is also how torchrun starts a rank."""

from genctl.cli import main

if __name__ == "__main__":
    main()
