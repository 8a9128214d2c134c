"""`python sdk/python` is how a worker starts a plugin's process, from its own copy of this folder."""

from windlass.host import main

if __name__ == "__main__":
    main()
