"""``python -m exec_service``: the same as the command ``exec-service``."""

from exec_service.cli import main

if __name__ == "__main__":
    main()
